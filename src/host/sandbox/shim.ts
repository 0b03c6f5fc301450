/**
 * The shim of a workload: a shell script that runs its command, keeps the end of its output, and records its process and
 * its exit status, whether or not an agent runs. It takes about 1 MB, where a Node process would take 40 MB.
 *
 * It needs a POSIX shell, `ip` of iproute2, `setsid` of util-linux (or of busybox), and `dd`, `ln`, `mkfifo` and `mv` of
 * coreutils (or of busybox).
 */

/** The programs that the shim runs. */
export const SHIM_PROGRAMS = ['sh', 'ip', 'setsid', 'dd', 'ln', 'mkfifo', 'mv'] as const;

/** Bytes that `dd` reads at once. */
export const BLOCK = 512;

/** The files of a workload, in its directory. */
export const FILES = {
  /** The script, so that `ps` shows whose shim it is. */
  shim: 'shim.sh',
  /** Who runs the workload: the identity of the shim, or that of nobody. It is created whole, and once. */
  claim: 'claim',
  /** The identity of the command. */
  command: 'command',
  /** `exit STATUS`. */
  exit: 'exit',
  /** The end of the output: the newer part, and the part before it. */
  output: 'output',
  older: 'output.1',
  /** The FIFO through which the output goes. */
  pipe: 'pipe',
  /** Errors of the shim itself. */
  errors: 'shim.log',
} as const;

/**
 * The names of variables begin with `weft_`, because the shell exports a variable again that the command's environment
 * already has. `PATH` is that of the agent while the shim runs its own programs.
 *
 * The command is not started with `&`: a shell then ignores SIGINT and SIGQUIT for it, and it could not undo that.
 */
export const SHIM = `# Runs the command of a workload of weft. Written by the agent, which may have ended since.
#
#     shim.sh run DIRECTORY NAMESPACE BLOCKS PATH COMMAND...   supervises the command
#     shim.sh exec DIRECTORY PATH COMMAND...                   becomes the command, inside the namespace

# Sets weft_identity to what identifies the process of this script: its number, its start, and that of the system.
identify() {
  read -r weft_boot </proc/sys/kernel/random/boot_id
  read -r weft_stat </proc/$$/stat
  set -- \${weft_stat##*) }
  weft_identity="$$ \${20} $weft_boot"
}

# Writes the input to a file with at most BLOCKS reads, which it then renames, so that the last two parts remain.
keep_output() {
  while :; do
    weft_read=$(LC_ALL=C dd bs=${BLOCK} count="$weft_blocks" 2>&1 >"$weft_directory/${FILES.output}") ||
      weft_read=$(LC_ALL=C dd bs=${BLOCK} count="$weft_blocks" 2>&1 >/dev/null) # as if it had been written: the disk is full
    weft_read=\${weft_read%% records in*}
    weft_read=\${weft_read##*[!0-9+]}
    [ "$(($weft_read))" -eq "$weft_blocks" ] || break
    mv -f "$weft_directory/${FILES.output}" "$weft_directory/${FILES.older}"
  done
}

weft_mode=$1 weft_directory=$2
case $weft_mode in
run)
  weft_namespace=$3 weft_blocks=$4 weft_path=$PATH PATH=$5
  shift 5
  # Signals that are caught here have their default action in the command; signals that are ignored would stay ignored.
  trap : HUP INT QUIT TERM USR1 USR2
  identify
  printf '%s\\n' "$weft_identity" >"$weft_directory/${FILES.claim}.shim"
  ln "$weft_directory/${FILES.claim}.shim" "$weft_directory/${FILES.claim}" || exit 1
  mkfifo -m 600 "$weft_directory/${FILES.pipe}" || exit 1
  exec 3<>"$weft_directory/${FILES.pipe}" # with both ends in hand, opening either does not wait
  exec 4<"$weft_directory/${FILES.pipe}" 5>"$weft_directory/${FILES.pipe}" 3>&-
  # Redirections of a function or a command itself would leave the other end open, and "Terminated" in the output.
  (exec <&4 4<&- 5>&- && keep_output) &
  exec 4<&-
  (exec >&5 2>&1 5>&- && exec setsid ip netns exec "$weft_namespace" sh "$0" exec "$weft_directory" "$weft_path" "$@")
  printf 'exit %s\\n' $? >"$weft_directory/${FILES.exit}"
  exec 5>&-
  wait
  ;;
exec)
  PATH=$3
  shift 3
  identify
  printf '%s\\n' "$weft_identity" >"$weft_directory/${FILES.command}"
  exec "$@"
  ;;
esac
`;
