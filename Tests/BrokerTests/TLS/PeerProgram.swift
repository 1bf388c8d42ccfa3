// Programs with another TLS implementation.
import Glibc
import Testing

@testable import Broker

/// A running program. Its standard input is a socket that keeps message boundaries: the program reads exactly one
/// message at a time, so it never takes a command for data. It is killed with the last reference to it.
final class PeerProgram {
  private let name: String
  private let pid: pid_t
  let input: Descriptor
  /// Standard output.
  let output: Descriptor
  /// Standard error, a file.
  private let errors: Descriptor

  /// - Parameter mixesErrors: standard error goes to standard output.
  init(_ arguments: [String], mixesErrors: Bool = false) throws {
    name = arguments[0]
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
      throw Trouble(what: "socketpair: \(errorText(errno))")
    }
    input = Descriptor(ends[0])
    let standardInput = Descriptor(ends[1])
    // A pipe, because in a socket each byte that gnutls-cli writes alone takes the space of a packet.
    guard pipe(&ends) == 0 else { throw Trouble(what: "pipe: \(errorText(errno))") }
    output = Descriptor(ends[0])
    let standardOutput = Descriptor(ends[1])
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    let scratch = try Scratch()
    errors = Descriptor(open(scratch.touch("errors"), O_RDWR | O_CLOEXEC))
    let started = Spawn.start(
      arguments, input: standardInput.number, output: standardOutput.number,
      errors: mixesErrors ? standardOutput.number : errors.number)
    switch started {
    case .success(let pid): self.pid = pid
    case .failure(let trouble):
      throw Trouble(
        what: "\(arguments[0]) cannot be started: \(errorText(trouble.number)); "
          + "scripts/setup --tests installs it")
    }
  }

  deinit {
    kill(pid, SIGKILL)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
  }

  /// The standard error output, for failure messages.
  var said: String {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = pread(errors.number, &bytes, bytes.count, 0)
    return "\(name): " + String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
  }

  /// Reads the available output, possibly none. Returns false at the end of the output.
  func read(into bytes: Collected) throws -> Bool {
    let count = Glibc.read(output.number, bytes.free.baseAddress, bytes.free.count)
    guard count >= 0 || errno == EAGAIN || errno == EINTR else {
      throw Trouble(what: "reading from \(name): \(errorText(errno))")
    }
    bytes.count += max(0, count)
    return count != 0
  }

  /// Waits for a whole line that starts with `start` and returns the rest of it. Other output read with it is lost.
  func line(after start: String, by deadline: Deadline) throws -> String {
    let text = Collected(capacity: 1 << 16)
    while true {
      let lines = String(decoding: text.bytes, as: UTF8.self).split(
        separator: "\n", omittingEmptySubsequences: false)
      if let line = lines.dropLast().first(where: { $0.hasPrefix(start) }) {
        return String(line.dropFirst(start.count))
      }
      try deadline.wait(for: output.number, POLLIN) { "no line '\(start)' from \(said)" }
      guard try read(into: text) else {
        throw Trouble(what: "no line '\(start)', but the end of \(said)")
      }
    }
  }

  /// Writes one message. Returns false if the socket cannot take it now.
  func write(_ message: ArraySlice<UInt8>) throws -> Bool {
    let count = message.withUnsafeBytes {
      send(input.number, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
    }
    if count == message.count { return true }
    guard errno == EAGAIN || errno == EINTR else {
      throw Trouble(what: "writing: \(errorText(errno)); \(said)")
    }
    return false
  }
}

/// Received bytes in one block of memory. An array would grow byte by byte in a debug build.
final class Collected {
  private let room: UnsafeMutableRawBufferPointer
  var count = 0

  init(capacity: Int) { room = .allocate(byteCount: capacity, alignment: 64) }

  deinit { room.deallocate() }

  /// The free space after the received bytes.
  var free: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: room[count...])
  }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: room[..<count]) }

  func begins(with other: [UInt8]) -> Bool {
    other.withUnsafeBytes {
      guard let theirs = $0.baseAddress, let ours = room.baseAddress else { return false }
      return $0.count <= count && memcmp(theirs, ours, $0.count) == 0
    }
  }

  /// The offset of the first `word` at or after `place`.
  private func find(_ word: [UInt8], from place: Int) -> Int? {
    guard let base = room.baseAddress else { return nil }
    var place = place
    while place + word.count <= count,
      let found = memchr(base + place, Int32(word[0]), count - word.count - place + 1)
    {
      if memcmp(found, word, word.count) == 0 { return found - base }
      place = found - base + 1
    }
    return nil
  }

  private func remove(_ part: Range<Int>) {
    guard let base = room.baseAddress else { return }
    memmove(base + part.lowerBound, base + part.upperBound, count - part.upperBound)
    count -= part.count
  }

  /// Removes the first `word` at or after `place`. Returns false if there is none.
  func remove(_ word: [UInt8], from place: Int) -> Bool {
    guard let start = find(word, from: place) else { return false }
    remove(start..<start + word.count)
    return true
  }

  /// Removes everything before the first `word`. Returns false if there is none.
  func begin(at word: [UInt8]) -> Bool {
    guard let start = find(word, from: 0) else { return false }
    remove(0..<start)
    return true
  }
}

/// A time limit for waits.
struct Deadline {
  private let at = Clock.monotonic.seconds + 60

  /// Waits until one of the descriptors is ready.
  func wait(for items: inout [pollfd], or trouble: () -> String) throws {
    let left = at - Clock.monotonic.seconds
    let count = poll(&items, nfds_t(items.count), Int32(max(0, left * 1000)))
    guard count > 0 || (count < 0 && errno == EINTR) else { throw Trouble(what: trouble()) }
  }

  func wait(for descriptor: Int32, _ events: Int32, or trouble: () -> String) throws {
    var items = [pollfd(fd: descriptor, events: Int16(events), revents: 0)]
    try wait(for: &items, or: trouble)
  }
}

/// A socket of the loopback interface.
enum Loopback {
  /// A listening socket and its port.
  static func listen() throws -> (socket: Int32, port: UInt16) {
    let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    let port = withAddress(port: 0) { address, length -> UInt16? in
      guard bind(number, address, length) == 0, Glibc.listen(number, 1) == 0,
        getsockname(number, address, &length) == 0
      else { return nil }
      return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
        UInt16(bigEndian: $0.pointee.sin_port)
      }
    }
    guard let port else {
      let why = errorText(errno)
      close(number)
      throw Trouble(what: "listening: \(why)")
    }
    return (number, port)
  }

  static func connect(to port: UInt16) throws -> Int32 {
    let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    let status = withAddress(port: port) { Glibc.connect(number, $0, $1) }
    guard status == 0 else {
      let why = errorText(errno)
      close(number)
      throw Trouble(what: "connecting to port \(port): \(why)")
    }
    return number
  }

  private static func withAddress<Result>(
    port: UInt16, _ body: (UnsafeMutablePointer<sockaddr>, inout socklen_t) -> Result
  ) -> Result {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    return withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, &length) }
    }
  }
}
