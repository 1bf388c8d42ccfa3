// The native protocol of systemd's journal: one datagram for each line, with fields to search by.
import Broker
@preconcurrency import Glibc
import Streams

/// A socket to the journal's daemon. Sending never blocks: a line that the journal does not accept at once is lost, and
/// the next line carries the number of lost lines.
final class JournalSocket {
  static let usualPath = "/run/systemd/journal/socket"
  private let descriptor: CInt
  private let name: String
  private var lost = 0

  init(at path: String = usualPath, name: String) throws(StartFailure) {
    self.name = name
    func failure(_ why: String) -> StartFailure {
      StartFailure(.configuration, .cannotLogToJournal, [path, why])
    }
    guard let address = UnixAddress(path) else { throw failure(reason(ENAMETOOLONG)) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw failure(reason()) }
    guard address.withPointer({ connect(descriptor, $0, $1) }) == 0 else {
      let why = reason()
      close(descriptor)
      throw failure(why)
    }
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  /// The service manager has connected standard error to the journal, and says so in the environment.
  static var isStandardError: Bool {
    var status = stat()
    guard let stream = getenv("JOURNAL_STREAM"), fstat(STDERR_FILENO, &status) == 0 else {
      return false
    }
    return String(cString: stream) == "\(status.st_dev):\(status.st_ino)"
  }

  func write(_ entry: LogEntry, _ message: String) {
    var datagram = JournalSocket.datagram(entry, message, name: name)
    if lost > 0 { JournalSocket.add("VIRTBROKER_LOST_LINES", "\(lost)", to: &datagram) }
    let sent = datagram.withUnsafeBytes {
      send(
        descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
    }
    lost = sent < 0 ? lost + 1 : 0
  }

  /// The fields that libvirt sends, under its names, and the client if the line is about one.
  static func datagram(_ entry: LogEntry, _ message: String, name: String) -> [UInt8] {
    var bytes: [UInt8] = []
    add("MESSAGE", message, to: &bytes)
    add("PRIORITY", "\(entry.level.syslogPriority)", to: &bytes)
    add("SYSLOG_FACILITY", "\(LOG_DAEMON >> 3)", to: &bytes)
    add("SYSLOG_IDENTIFIER", name, to: &bytes)
    add("LIBVIRT_SOURCE", entry.source.name, to: &bytes)
    add("CODE_FILE", "\(entry.file)", to: &bytes)
    add("CODE_LINE", "\(entry.line)", to: &bytes)
    add("CODE_FUNC", "\(entry.function)", to: &bytes)
    for identifier in entry.message.identifiers {
      add("VIRTBROKER_MESSAGE", identifier, to: &bytes)
    }
    if let client = entry.client { add("VIRTBROKER_CLIENT", "\(client)", to: &bytes) }
    if let identity = entry.identity {
      add("VIRTBROKER_IDENTITY", printable(identity, mostBytes: 1024), to: &bytes)
    }
    return bytes
  }

  /// A value of one line stands after its name and `=`. Any other has its length in front, in 8 bytes, little-endian.
  private static func add(_ field: String, _ value: String, to bytes: inout [UInt8]) {
    bytes += field.utf8
    if value.utf8.contains(UInt8(ascii: "\n")) {
      bytes.append(UInt8(ascii: "\n"))
      withUnsafeBytes(of: UInt64(value.utf8.count).littleEndian) { bytes += $0 }
    } else {
      bytes.append(UInt8(ascii: "="))
    }
    bytes += value.utf8
    bytes.append(UInt8(ascii: "\n"))
  }
}
