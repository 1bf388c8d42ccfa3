// The terminal: plain ANSI, left as it was found.
@preconcurrency import Glibc

/// Where pages are shown. On a terminal each takes the place of the last; elsewhere they follow each other.
final class Screen {
  private let isTerminal = isatty(STDOUT_FILENO) == 1
  private let hasKeys = isatty(STDIN_FILENO) == 1
  private var before = termios()
  private var signals = sigset_t()
  private var hasLeft = false
  private static let home = "\u{1b}[H"
  private static let endOfLine = "\u{1b}[K"
  private static let below = "\u{1b}[J"

  init() {
    sigemptyset(&signals)
    guard isTerminal else { return }
    // What would end the program between two lines is looked for where it waits instead, so that the
    // terminal is always given back in order.
    for number in [SIGINT, SIGTERM, SIGHUP, SIGWINCH] { sigaddset(&signals, number) }
    sigprocmask(SIG_BLOCK, &signals, nil)
    if hasKeys {
      tcgetattr(STDIN_FILENO, &before)
      var raw = before
      raw.c_lflag &= ~tcflag_t(ICANON | ECHO)
      tcsetattr(STDIN_FILENO, TCSANOW, &raw)
    }
    // Another screen, so that what was on this one comes back, and no cursor.
    print("\u{1b}[?1049h\u{1b}[?25l", terminator: "")
    fflush(stdout)
  }

  /// Gives the terminal back.
  func leave() {
    guard isTerminal, !hasLeft else { return }
    hasLeft = true
    print("\u{1b}[?25h\u{1b}[?1049l", terminator: "")
    fflush(stdout)
    if hasKeys { tcsetattr(STDIN_FILENO, TCSANOW, &before) }
  }

  /// Columns and lines.
  private var size: (columns: Int, lines: Int) {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0
    else { return (80, 24) }
    return (Int(size.ws_col), Int(size.ws_row))
  }

  func show(_ view: View) {
    guard isTerminal else {
      print(view.lines(height: .max / 2).joined(separator: "\n") + "\n")
      return
    }
    let size = size
    // The last line stays free: a terminal scrolls when it is full.
    let lines = view.lines(height: size.lines - 1).prefix(max(1, size.lines - 1))
    let text = lines.map { $0.prefix(size.columns) + Screen.endOfLine }.joined(separator: "\r\n")
    print(Screen.home + text + Screen.below, terminator: "")
  }

  /// Waits. False: it is to end. A window of another size ends the wait, so that it is filled at once.
  func wait(seconds: Double) -> Bool {
    guard isTerminal else { return Screen.sleep(seconds: seconds) }
    let end = Connection.now + seconds
    while true {
      let left = end - Connection.now
      guard left > 0 else { return true }
      var key = pollfd(fd: hasKeys ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0)
      // Signals are looked for in between; nobody notices a tenth of a second.
      let found = poll(&key, 1, Int32(min(left, 0.1) * 1000) + 1)
      if found > 0 {
        var byte: UInt8 = 0
        guard read(STDIN_FILENO, &byte, 1) == 1 else { return false }
        if byte == UInt8(ascii: "q") || byte == UInt8(ascii: "Q") { return false }
      }
      var none = timespec()
      switch sigtimedwait(&signals, nil, &none) {
      case SIGWINCH: return true
      case SIGINT, SIGTERM, SIGHUP: return false
      default: break
      }
    }
  }

  static func sleep(seconds: Double) -> Bool {
    usleep(useconds_t(seconds * 1e6))
    return true
  }
}
