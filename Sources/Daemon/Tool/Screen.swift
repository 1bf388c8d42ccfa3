// The terminal: plain ANSI sequences; restored at the end.
@preconcurrency import Glibc

/// Shows pages. On a terminal each page replaces the last; elsewhere they follow each other.
final class Screen {
  enum Key: Equatable {
    case character(Character)
    case up, down, left, right, pageUp, pageDown, home
    case function(Int)
    case other
  }

  /// Why a wait has ended.
  enum Wake {
    case timeUp, resized, over
    case key(Key)
  }

  let isTerminal = isatty(STDOUT_FILENO) == 1
  private let hasKeys = isatty(STDIN_FILENO) == 1
  private var before = termios()
  private var signals = sigset_t()
  private var hasLeft = false
  /// Keys that were read and not yet returned.
  private var typed: [Key] = []
  private static let home = "\u{1b}[H"
  private static let endOfLine = "\u{1b}[K"
  private static let below = "\u{1b}[J"
  private static let reverse = "\u{1b}[7m"
  private static let plain = "\u{1b}[0m"

  init() {
    sigemptyset(&signals)
    guard isTerminal else { return }
    // Signals that would end the program are blocked and polled in `wait`, so that the terminal is always restored.
    for number in [SIGINT, SIGTERM, SIGHUP, SIGWINCH] { sigaddset(&signals, number) }
    sigprocmask(SIG_BLOCK, &signals, nil)
    if hasKeys {
      tcgetattr(STDIN_FILENO, &before)
      var raw = before
      raw.c_lflag &= ~tcflag_t(ICANON | ECHO)
      tcsetattr(STDIN_FILENO, TCSANOW, &raw)
    }
    // The alternate screen, so that the former content returns; no cursor; and no automatic wrap: a name may contain
    // characters that are two columns wide.
    print("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l", terminator: "")
    fflush(stdout)
  }

  /// Restores the terminal.
  func leave() {
    guard isTerminal, !hasLeft else { return }
    hasLeft = true
    print("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l", terminator: "")
    fflush(stdout)
    if hasKeys { tcsetattr(STDIN_FILENO, TCSANOW, &before) }
  }

  /// Columns and lines.
  var size: (columns: Int, lines: Int) {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0
    else { return (80, 24) }
    return (Int(size.ws_col), Int(size.ws_row))
  }

  /// Shows as many lines as the terminal has, each cut to its width.
  func show(_ lines: [TopPage.Line]) {
    let columns = size.columns
    let text = lines.map { line in
      // The erase sequence comes first: after a line as wide as the window the cursor still stands on its last
      // character.
      guard line.isBar else { return Screen.endOfLine + line.text }
      let space = String(repeating: " ", count: max(0, columns - line.text.count))
      return Screen.reverse + line.text + space + Screen.plain
    }
    print(Screen.home + text.joined(separator: "\r\n") + Screen.below, terminator: "")
    fflush(stdout)
  }

  /// Waits for a key, a change of the window's size, or a time on the clock of `Connection.now`.
  func wait(until end: Double) -> Wake {
    guard isTerminal else {
      _ = Screen.sleep(seconds: max(0, end - Connection.now))
      return .timeUp
    }
    while true {
      if !typed.isEmpty { return .key(typed.removeFirst()) }
      let left = end - Connection.now
      guard left > 0 else { return .timeUp }
      var key = pollfd(fd: hasKeys ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0)
      // Signals are polled in between; a delay of 0.1 s is not noticeable.
      if poll(&key, 1, Int32(min(left, 0.1) * 1000) + 1) > 0 {
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = bytes.withUnsafeMutableBytes { read(STDIN_FILENO, $0.baseAddress, $0.count) }
        guard count > 0 else { return .over }
        typed = Screen.keys(bytes[..<count])
      }
      var none = timespec()
      switch sigtimedwait(&signals, nil, &none) {
      case SIGWINCH: return .resized
      case SIGINT, SIGTERM, SIGHUP: return .over
      default: break
      }
    }
  }

  /// The keys in the input: characters, and the sequences that terminals send for other keys.
  static func keys(_ bytes: ArraySlice<UInt8>) -> [Key] {
    let sequences: [(String, Key)] = [
      ("[A", .up), ("[B", .down), ("[C", .right), ("[D", .left), ("OA", .up), ("OB", .down),
      ("OC", .right), ("OD", .left), ("[5~", .pageUp), ("[6~", .pageDown), ("[H", .home),
      ("OH", .home), ("[1~", .home), ("OP", .function(1)), ("[11~", .function(1)),
      ("[21~", .function(10)),
    ]
    var keys: [Key] = []
    var rest = bytes
    while let byte = rest.popFirst() {
      if byte != 0x1b {
        keys.append(byte < 0x80 ? .character(Character(UnicodeScalar(byte))) : .other)
      } else if let (text, key) = sequences.first(where: { rest.starts(with: $0.0.utf8) }) {
        keys.append(key)
        rest = rest.dropFirst(text.utf8.count)
      } else {
        // An unknown sequence: nothing of it counts as typed characters.
        keys.append(.other)
        rest = []
      }
    }
    return keys
  }

  static func sleep(seconds: Double) -> Bool {
    usleep(useconds_t(seconds * 1e6))
    return true
  }
}
