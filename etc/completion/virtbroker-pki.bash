# Completion of virtbroker-pki's commands and options for bash.
_virtbroker_pki() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  case $before in
    --to | --root | install)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return ;;
    --days | --organization) return ;;
    server)
      mapfile -t COMPREPLY < <(compgen -A hostname -- "$word")
      return ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "authority server client install --to --user --root --organization
    --days --renew --version --help" -- "$word")
}
complete -F _virtbroker_pki virtbroker-pki
