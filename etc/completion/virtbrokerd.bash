# Completion of virtbrokerd's options for bash.
_virtbrokerd() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  case $before in
    -f | --config | -p | --pid-file)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return ;;
    -t | --timeout) return ;;
    --connect)
      mapfile -t COMPREPLY < <(compgen -A hostname -- "$word")
      return ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "--help --verbose --daemon --timeout --config --version --pid-file
    --check-config --check-tls --connect" -- "$word")
}
complete -F _virtbrokerd virtbrokerd
