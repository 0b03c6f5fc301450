;; The Internet checksum (RFC 1071), and the same while copying, in SIMD: `Sum` and `CopySum` of ../sum.ts over an imported
;; memory. A sum of words with their bytes the other way round is the sum with its bytes the other way round, so all is added
;; up in WebAssembly's little-endian order and swapped at the end. An odd last byte then is a word's low half.
;;
;; scripts/wasm.mjs compiles this to module.generated.ts.
(module
  (import "env" "memory" (memory 1))

  ;; Folds what was added up to 16 bits, swaps them, adds the initial sum and folds again. Each turn takes 16 bits away, and
  ;; the third the last carry.
  (func $finish (param $total i64) (param $initial i32) (result i32)
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (local.set $total
      (i64.add
        (i64.extend_i32_u (local.get $initial))
        (i64.or
          (i64.shl (i64.and (local.get $total) (i64.const 0xff)) (i64.const 8))
          (i64.shr_u (local.get $total) (i64.const 8)))))
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (local.set $total (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16))))
    (i32.wrap_i64
      (i64.add (i64.and (local.get $total) (i64.const 0xffff)) (i64.shr_u (local.get $total) (i64.const 16)))))

  ;; The four lanes, each up to 2^32, as one number.
  (func $lanes (param $v v128) (result i64)
    (i64.add
      (i64.add
        (i64.extend_i32_u (i32x4.extract_lane 0 (local.get $v)))
        (i64.extend_i32_u (i32x4.extract_lane 1 (local.get $v))))
      (i64.add
        (i64.extend_i32_u (i32x4.extract_lane 2 (local.get $v)))
        (i64.extend_i32_u (i32x4.extract_lane 3 (local.get $v))))))

  (func (export "sum") (param $at i32) (param $length i32) (param $initial i32) (result i32)
    (local $a v128) (local $b v128) (local $total i64) (local $word i64)
    ;; 64 bytes a turn, into two sums that do not wait for each other.
    (block $done64
      (br_if $done64 (i32.lt_u (local.get $length) (i32.const 64)))
      (loop $next64
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=0 align=1 (local.get $at)))))
        (local.set $b (i32x4.add (local.get $b)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=16 align=1 (local.get $at)))))
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=32 align=1 (local.get $at)))))
        (local.set $b (i32x4.add (local.get $b)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=48 align=1 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 64)))
        (local.set $length (i32.sub (local.get $length) (i32.const 64)))
        (br_if $next64 (i32.ge_u (local.get $length) (i32.const 64)))))
    (block $done16
      (br_if $done16 (i32.lt_u (local.get $length) (i32.const 16)))
      (loop $next16
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.extadd_pairwise_i16x8_u (v128.load align=1 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $length (i32.sub (local.get $length) (i32.const 16)))
        (br_if $next16 (i32.ge_u (local.get $length) (i32.const 16)))))
    (local.set $total (i64.add (call $lanes (local.get $a)) (call $lanes (local.get $b))))
    (if (i32.and (local.get $length) (i32.const 8))
      (then
        (local.set $word (i64.load align=1 (local.get $at)))
        (local.set $total
          (i64.add (local.get $total)
            (i64.add
              (i64.and (local.get $word) (i64.const 0xffffffff))
              (i64.shr_u (local.get $word) (i64.const 32)))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4))
      (then
        (local.set $total (i64.add (local.get $total) (i64.load32_u align=1 (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2))
      (then
        (local.set $total (i64.add (local.get $total) (i64.load16_u align=1 (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1))
      (then (local.set $total (i64.add (local.get $total) (i64.load8_u (local.get $at))))))
    (call $finish (local.get $total) (local.get $initial)))

  (func (export "copySum") (param $at i32) (param $to i32) (param $length i32) (param $initial i32) (result i32)
    (local $a v128) (local $b v128) (local $v v128) (local $total i64) (local $word i64)
    (block $done32
      (br_if $done32 (i32.lt_u (local.get $length) (i32.const 32)))
      (loop $next32
        (local.set $v (v128.load offset=0 align=1 (local.get $at)))
        (v128.store offset=0 align=1 (local.get $to) (local.get $v))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (local.get $v))))
        (local.set $v (v128.load offset=16 align=1 (local.get $at)))
        (v128.store offset=16 align=1 (local.get $to) (local.get $v))
        (local.set $b (i32x4.add (local.get $b) (i32x4.extadd_pairwise_i16x8_u (local.get $v))))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (local.set $to (i32.add (local.get $to) (i32.const 32)))
        (local.set $length (i32.sub (local.get $length) (i32.const 32)))
        (br_if $next32 (i32.ge_u (local.get $length) (i32.const 32)))))
    (if (i32.and (local.get $length) (i32.const 16))
      (then
        (local.set $v (v128.load align=1 (local.get $at)))
        (v128.store align=1 (local.get $to) (local.get $v))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (local.get $v))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))))
    (local.set $total (i64.add (call $lanes (local.get $a)) (call $lanes (local.get $b))))
    (if (i32.and (local.get $length) (i32.const 8))
      (then
        (local.set $word (i64.load align=1 (local.get $at)))
        (i64.store align=1 (local.get $to) (local.get $word))
        (local.set $total
          (i64.add (local.get $total)
            (i64.add
              (i64.and (local.get $word) (i64.const 0xffffffff))
              (i64.shr_u (local.get $word) (i64.const 32)))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $to (i32.add (local.get $to) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4))
      (then
        (local.set $word (i64.load32_u align=1 (local.get $at)))
        (i64.store32 align=1 (local.get $to) (local.get $word))
        (local.set $total (i64.add (local.get $total) (local.get $word)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2))
      (then
        (local.set $word (i64.load16_u align=1 (local.get $at)))
        (i64.store16 align=1 (local.get $to) (local.get $word))
        (local.set $total (i64.add (local.get $total) (local.get $word)))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))
        (local.set $to (i32.add (local.get $to) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1))
      (then
        (local.set $word (i64.load8_u (local.get $at)))
        (i64.store8 (local.get $to) (local.get $word))
        (local.set $total (i64.add (local.get $total) (local.get $word)))))
    (call $finish (local.get $total) (local.get $initial))))
