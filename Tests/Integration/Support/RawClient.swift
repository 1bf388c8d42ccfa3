// A client that sends exactly the bytes of a test, valid or invalid.
import Foundation
import Streams

/// A connection to a libvirt daemon or to the broker. One thread uses it. Every wait has a deadline, so that a
/// missing reply fails the test instead of blocking it.
final class RawClient: @unchecked Sendable {
  let descriptor: Int32
  /// The default time limit of one wait, in seconds.
  var patience = 20.0
  private var cutter = PacketCutter()
  private var nextSerial: UInt32 = 0
  private(set) var isAtEnd = false
  /// Packets that arrived while a wait was for another.
  private(set) var aside: [RawPacket] = []

  init(unix path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    try connect { descriptor in
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      let room = MemoryLayout.size(ofValue: address.sun_path)
      guard path.utf8.count < room else { throw Trouble("the path \(path) is too long") }
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
    }
  }

  /// Connects to a port of 127.0.0.1.
  init(tcp port: Int) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    try connect { descriptor in
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = in_port_t(truncatingIfNeeded: port).bigEndian
      address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    }
  }

  deinit { close(descriptor) }

  private func connect(_ body: (Int32) throws -> Int32) throws {
    guard descriptor >= 0 else { throw Trouble("no socket: \(errnoText())") }
    guard try body(descriptor) == 0 else { throw Trouble("cannot connect: \(errnoText())") }
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
  }

  // MARK: Sending

  /// Sends all bytes.
  func send(_ bytes: some RandomAccessCollection<UInt8>) throws {
    let bytes = Array(bytes)
    let end = Date(timeIntervalSinceNow: patience)
    var sent = 0
    while sent < bytes.count {
      sent += try sendSome(bytes[sent...])
      if sent < bytes.count, !wait(for: POLLOUT, until: end) {
        throw Trouble("the peer took only \(sent) of \(bytes.count) bytes in \(patience) s")
      }
    }
  }

  /// Sends the bytes that the kernel accepts at once. Returns their number.
  func sendSome(_ bytes: ArraySlice<UInt8>) throws -> Int {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.dropFirst(sent).withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
      }
      if count < 0 {
        if errno == EINTR { continue }
        if errno == EAGAIN { return sent }
        throw Trouble("sending: \(errnoText())")
      }
      sent += count
    }
    return sent
  }

  /// The header of a new call.
  func header(
    _ procedure: Int32, program: UInt32 = Program.remote, version: UInt32 = Program.version,
    kind: PacketKind = .call, status: PacketStatus = .ok
  ) -> PacketHeader {
    defer { nextSerial += 1 }
    return PacketHeader(
      program: program, version: version, procedure: procedure, kind: kind, serial: nextSerial,
      status: status)
  }

  // MARK: Receiving

  /// The next packet; nil if the peer closed or reset the connection.
  func receive(within seconds: Double? = nil) throws -> RawPacket? {
    if !aside.isEmpty { return aside.removeFirst() }
    return try receiveNew(until: Date(timeIntervalSinceNow: seconds ?? patience))
  }

  /// The first packet that satisfies `fits`. Earlier packets are kept for `receive`.
  func receive(
    within seconds: Double? = nil, _ what: String, where fits: (RawPacket) -> Bool
  ) throws -> RawPacket {
    if let index = aside.firstIndex(where: fits) { return aside.remove(at: index) }
    let end = Date(timeIntervalSinceNow: seconds ?? patience)
    while true {
      do {
        guard let packet = try receiveNew(until: end) else {
          throw Trouble("the connection was closed instead of \(what)")
        }
        if fits(packet) { return packet }
        aside.append(packet)
      } catch let trouble as Trouble {
        throw Trouble("waiting for \(what): \(trouble)")
      }
    }
  }

  /// Expects the peer to close the connection within the time. Returns the packets that arrive before.
  func awaitEnd(within seconds: Double? = nil) throws -> [RawPacket] {
    let end = Date(timeIntervalSinceNow: seconds ?? patience)
    var packets = aside
    aside = []
    while let packet = try receiveNew(until: end) { packets.append(packet) }
    return packets
  }

  /// All packets that arrive during `seconds`. It always waits for the whole time.
  func receiveAll(for seconds: Double) -> [RawPacket] {
    let end = Date(timeIntervalSinceNow: seconds)
    var packets = aside
    aside = []
    while let packet = try? receiveNew(until: end) { packets.append(packet) }
    return packets
  }

  /// Bytes of an incomplete packet.
  var rest: Int { cutter.rest }

  private func receiveNew(until end: Date) throws -> RawPacket? {
    while true {
      if let packet = cutter.next() { return packet }
      if isAtEnd { return nil }
      if try receiveSome() == nil, !wait(for: POLLIN, until: end) {
        throw Trouble("nothing came in time")
      }
    }
  }

  /// Reads once without blocking. Returns the number of bytes; nil if none are available.
  private func receiveSome() throws -> Int? {
    try withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 16) { room in
      let count = recv(descriptor, room.baseAddress, room.count, Int32(MSG_DONTWAIT))
      if count > 0 {
        cutter.add(UnsafeRawBufferPointer(rebasing: room[..<count]))
      } else if count == 0 || errno == ECONNRESET || errno == EPIPE {
        isAtEnd = true
      } else if errno == EAGAIN || errno == EINTR {
        return nil
      } else {
        throw Trouble("receiving: \(errnoText())")
      }
      return max(0, count)
    }
  }

  /// Waits until the socket is ready. Returns false if it is not by `end`.
  func wait(for events: Int32, until end: Date) -> Bool {
    var item = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0)
    while true {
      let left = end.timeIntervalSinceNow
      let count = poll(&item, 1, left > 0 ? Int32(min(left * 1000 + 1, 600_000)) : 0)
      if count > 0 { return true }
      if count == 0 || errno != EINTR { return false }
    }
  }

  // MARK: What every client does

  /// Calls and waits for the reply, which may be an error.
  @discardableResult
  func call(
    _ procedure: Int32, program: UInt32 = Program.remote, within seconds: Double? = nil
  ) throws -> RawPacket {
    let header = header(procedure, program: program)
    return try call(header, Packets.make(header), within: seconds)
  }

  /// Calls with arguments and waits for the reply, which may be an error.
  @discardableResult
  func call(
    _ procedure: Int32, _ body: some XDRBody, within seconds: Double? = nil
  ) throws -> RawPacket {
    let header = header(procedure)
    return try call(header, Packets.make(header, body), within: seconds)
  }

  /// Sends a call unchanged and waits for the reply, which may be an error.
  @discardableResult
  func call(
    _ header: PacketHeader, _ packet: [UInt8], within seconds: Double? = nil
  ) throws -> RawPacket {
    try send(packet)
    return try receive(within: seconds, "the reply to procedure \(header.procedure)") {
      $0.answers(header.serial)
    }
  }

  /// Calls AUTH_LIST and CONNECT_OPEN, which must succeed.
  func open(_ uri: String? = "qemu:///system", readOnly: Bool = false) throws {
    for reply in [
      try call(Remote.authList),
      try call(Remote.connectOpen, ConnectOpenArguments(name: uri, flags: readOnly ? 1 : 0)),
    ] where reply.header.status != .ok {
      throw Trouble("opening \(uri ?? "nothing"): \(reply)")
    }
  }

  /// Starts keepalive, as clients with an event loop do.
  func wantKeepAlive() throws {
    let reply = try call(Remote.connectSupportsFeature, FeatureArguments(feature: 10))
    guard reply.decoded(FeatureResult.self)?.supported == 1 else {
      throw Trouble("no keepalive: \(reply)")
    }
  }

  /// Opens a download or an upload. Returns its header after a successful reply.
  func openStream(
    _ procedure: Int32, pool: String, volume: String, length: UInt64 = 0, flags: UInt32 = 0
  ) throws -> PacketHeader {
    var header = header(procedure)
    let arguments = VolumeTransferArguments(
      pool: pool, name: volume, key: volume, offset: 0, length: length, flags: flags)
    let reply = try call(header, Packets.make(header, arguments), within: nil)
    guard reply.header.status == .ok else { throw Trouble("opening a stream: \(reply)") }
    header.kind = .stream
    header.status = .continue
    return header
  }

  /// A packet with any header and body. The length is filled in.
  static func packet(_ header: PacketHeader, _ body: [UInt8]) -> [UInt8] {
    var header = header
    header.length = UInt32(Limits.header + body.count)
    return words(header) + body
  }

  /// The words of a header, with its length unchanged.
  static func words(_ header: PacketHeader) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: Limits.header) { room, count in
      header.write(at: room.baseAddress!)
      count = Limits.header
    }
  }

  /// Finishes or aborts a stream and waits for the confirmation.
  func end(_ stream: PacketHeader, _ status: PacketStatus = .ok) throws -> RawPacket {
    var header = stream
    header.status = status
    try send(Packets.make(header))
    return try receive("the answer to the end of stream \(header.serial)") {
      $0.header.kind == .stream && $0.header.serial == header.serial
        && $0.header.status != .continue
    }
  }

  /// Aborts the connection: unsent data are discarded, and TCP sends a reset.
  func vanish() {
    var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
    setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
    shutdown(descriptor, Int32(SHUT_RDWR))
  }
}

/// The error of the last system call, as text.
func errnoText() -> String { String(cString: strerror(errno)) }
