// @ts-check
/**
 * Restores the constants of a bundle. esbuild turns top-level `const` into `var`, which V8 (up to Node 22) loads from
 * memory at each use; and it checks at each use that a `const` is initialized, which makes functions too long to
 * inline. So this turns variables that are assigned once back into `const`, and replaces numeric ones by their values.
 * Reading a header's fields then takes two thirds of the time (`npm run bench`).
 */
import MagicString from 'magic-string';
import ts from 'typescript';

/**
 * @param {string} text JavaScript, an ES module.
 * @returns The same module with constants, and the source map from it to `text`.
 */
export function constants(text) {
  const file = ts.createSourceFile('bundle.js', text, ts.ScriptTarget.ESNext, true, ts.ScriptKind.JS);
  const assigned = assignedNames(file);
  const declared = declarations(file);
  /** Replacements: start, end, text. @type {[number, number, string][]} */
  const edits = [];
  /** @type {Map<string, string>} */
  const numbers = new Map();

  for (const statement of file.statements) {
    if (!ts.isVariableStatement(statement)) continue;
    const list = statement.declarationList;
    const constant = list.declarations.every(
      ({ name, initializer }) =>
        ts.isIdentifier(name) && initializer && !assigned.has(name.text) && declared.get(name.text) === 1,
    );
    if (!constant) continue;
    if ((list.flags & ts.NodeFlags.BlockScoped) === 0) {
      const at = list.getStart(file);
      edits.push([at, at + 'var'.length, 'const']);
    }
    for (const { name, initializer } of list.declarations)
      if (initializer && isNumber(initializer)) numbers.set(name.getText(file), initializer.getText(file));
  }

  /** @param {ts.Node} node */
  const inline = (node) => {
    if (ts.isIdentifier(node) && numbers.has(node.text)) {
      const number = /** @type {string} */ (numbers.get(node.text));
      // A minus followed by a negative number would read as a decrement.
      const value = number.startsWith('-') ? `(${number})` : number;
      if (ts.isShorthandPropertyAssignment(node.parent))
        edits.push([node.getStart(file), node.end, `${node.text}: ${value}`]);
      else if (isUse(node)) edits.push([node.getStart(file), node.end, value]);
    }
    ts.forEachChild(node, inline);
  };
  inline(file);

  const result = new MagicString(text);
  for (const [start, end, replacement] of edits) result.update(start, end, replacement);
  return { code: result.toString(), map: result.generateMap({ hires: true, source: 'bundle.js' }) };
}

/** @param {ts.Expression} node */
function isNumber(node) {
  return (
    ts.isNumericLiteral(node) ||
    (ts.isPrefixUnaryExpression(node) &&
      node.operator === ts.SyntaxKind.MinusToken &&
      ts.isNumericLiteral(node.operand))
  );
}

/**
 * Whether an identifier is used as a value: not a declaration, property name or label, nor in an import or export.
 * @param {ts.Identifier} node
 */
function isUse(node) {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent) || ts.isBindingElement(parent))
    return parent.initializer === node;
  return !(
    ts.isExportSpecifier(parent) ||
    ts.isImportSpecifier(parent) ||
    ts.isPropertyDeclaration(parent) ||
    ts.isMethodDeclaration(parent) ||
    ts.isAccessor(parent) ||
    ts.isLabeledStatement(parent) ||
    ts.isBreakOrContinueStatement(parent)
  );
}

/** @param {ts.SyntaxKind} kind */
function isAssignment(kind) {
  return kind >= ts.SyntaxKind.FirstAssignment && kind <= ts.SyntaxKind.LastAssignment;
}

/** The names that are assigned to anywhere, also in patterns. @param {ts.SourceFile} file */
function assignedNames(file) {
  /** @type {Set<string>} */
  const assigned = new Set();
  /** `a[B] = 1` assigns to neither `a` nor `B`. @param {ts.Node} node */
  const names = (node) => {
    if (ts.isIdentifier(node)) assigned.add(node.text);
    else if (!ts.isElementAccessExpression(node) && !ts.isPropertyAccessExpression(node)) ts.forEachChild(node, names);
  };
  /** @param {ts.Node} node */
  const note = (node) => {
    if (ts.isBinaryExpression(node) && isAssignment(node.operatorToken.kind)) names(node.left);
    else if (ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) {
      if (node.operator === ts.SyntaxKind.PlusPlusToken || node.operator === ts.SyntaxKind.MinusMinusToken)
        names(node.operand);
    } else if (
      (ts.isForInStatement(node) || ts.isForOfStatement(node)) &&
      !ts.isVariableDeclarationList(node.initializer)
    )
      names(node.initializer);
    ts.forEachChild(node, note);
  };
  note(file);
  return assigned;
}

/**
 * How often each name is declared: a name declared once means the same variable everywhere.
 * @param {ts.SourceFile} file
 */
function declarations(file) {
  /** @type {Map<string, number>} */
  const count = new Map();
  /** @param {ts.Node} node */
  const note = (node) => {
    if (
      (ts.isVariableDeclaration(node) ||
        ts.isParameter(node) ||
        ts.isBindingElement(node) ||
        ts.isFunctionDeclaration(node) ||
        ts.isFunctionExpression(node) ||
        ts.isClassDeclaration(node) ||
        ts.isClassExpression(node) ||
        ts.isImportSpecifier(node)) &&
      node.name &&
      ts.isIdentifier(node.name)
    )
      count.set(node.name.text, (count.get(node.name.text) ?? 0) + 1);
    ts.forEachChild(node, note);
  };
  note(file);
  return count;
}
