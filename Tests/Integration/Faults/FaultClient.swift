// One client of the fault driver: mixed operations, and a record of how each ended.
import Foundation
import Streams

/// The results of some clients' operations.
struct Account: Sendable {
  /// How operations of one kind ended: done; failed with an error; or cut with the connection.
  struct Ends: Sendable { var done = 0, failed = 0, cut = 0 }
  var ends: [String: Ends] = [:]
  /// Uploads and migrations that were confirmed to their client, by name.
  var good: [String: Checksum] = [:]
  /// Descriptions of forbidden results.
  var wrong: [String] = []

  mutating func add(_ other: Account) {
    for (kind, ends) in other.ends {
      self.ends[kind, default: Ends()].done += ends.done
      self.ends[kind, default: Ends()].failed += ends.failed
      self.ends[kind, default: Ends()].cut += ends.cut
    }
    good.merge(other.good) { $1 }
    wrong += other.wrong
  }

  var description: String {
    ends.sorted { $0.key < $1.key }
      .map { "\($0.key): \($0.value.done) done, \($0.value.failed) failed, \($0.value.cut) cut" }
      .joined(separator: "\n")
  }
}

/// Where the driver's clients work, and the results they may expect there.
protocol FaultSite: Sendable {
  /// Whether the daemon is the driver's own: it echoes arguments, sends counted events and accepts any migration.
  var isSynthetic: Bool { get }
  /// Opens a connection over one of the transports.
  func connect(_ dice: inout Dice) throws -> RawClient
  /// The kinds of operations for the client with this number.
  func kinds(for client: Int) -> [FaultClient.Kind]
  func upload(_ content: Content, by client: Int) -> VolumeTransferArguments
  /// The call that prepares a tunnelled migration to this daemon.
  func migration(of content: Content, by client: Int) -> (procedure: Int32, arguments: [UInt8])
  /// A volume to download, and its content.
  func download(_ dice: inout Dice) -> (VolumeTransferArguments, Content)
  /// The guest whose console this client uses.
  func guest(of client: Int) -> String
  /// What is wrong with an upload that was confirmed to its client; nil if it is correct.
  func trouble(with content: Content, by client: Int) -> String?
}

/// How an operation ended unsuccessfully.
private enum Stop: Error {
  /// The connection ended, which is allowed.
  case cut
  /// It failed with an error, which is allowed too.
  case failed(String)
  /// A forbidden result.
  case wrong(String)
}

final class FaultClient {
  enum Kind: String, CaseIterable, Sendable {
    case calls, events, upload, download, console, migration
  }

  /// A wait without a received byte for this long is a hang.
  static let patience = 60.0

  private let number: Int
  private let site: any FaultSite
  private let end: Flag
  private var dice: Dice
  private(set) var account = Account()
  private var client: RawClient?
  /// Calls without a reply yet, and streams that may still receive packets.
  private var expected: Set<UInt32> = []
  private var late: Set<UInt32> = []
  /// The broker has reported the end of the daemon's connection.
  private var isMainLost = false

  /// Works until the flag is raised.
  init(
    _ number: Int, at site: any FaultSite, seed: UInt64,
    until end: Flag
  ) {
    (self.number, self.site, self.end) = (number, site, end)
    dice = Dice(seed)
  }

  func work() {
    let kinds = site.kinds(for: number)
    while !end.isUp {
      usleep(UInt32(dice.pick(0...100)) * 1000)
      if client == nil, !attempt("connecting", connect) { continue }
      let kind = kinds[dice.pick(0...kinds.count - 1)]
      attempt(kind.rawValue) {
        switch kind {
        case .calls: try calls()
        case .events: try events()
        case .upload: try upload(asMigration: false)
        case .download: try download()
        case .console: try console()
        case .migration: try migration()
        }
      }
      // Sometimes it disconnects, with or without CONNECT_CLOSE; and it does after the end of its daemon's
      // connection.
      if client != nil, isMainLost || dice.once(in: 12) { attempt("leaving", leave) }
    }
    if client != nil { attempt("leaving", leave) }
  }

  @discardableResult
  private func attempt(_ kind: String, _ body: () throws -> Void) -> Bool {
    do {
      try body()
      account.ends[kind, default: Account.Ends()].done += 1
      return true
    } catch Stop.failed {
      account.ends[kind, default: Account.Ends()].failed += 1
    } catch Stop.wrong(let what) {
      account.wrong.append("client \(number), \(kind): \(what)")
      client = nil
    } catch {
      account.ends[kind, default: Account.Ends()].cut += 1
      client = nil
    }
    return false
  }

  // MARK: Packets

  private func connection() throws -> RawClient {
    guard let client else { throw Stop.cut }
    return client
  }

  private func send(_ bytes: [UInt8]) throws {
    let client = try connection()
    var sent = 0
    var movedAt = Date()
    while sent < bytes.count {
      let count: Int
      do { count = try client.sendSome(bytes[sent...]) } catch { throw Stop.cut }
      sent += count
      if count > 0 { movedAt = Date() }
      guard sent < bytes.count else { return }
      if Date().timeIntervalSince(movedAt) > Self.patience {
        throw Stop.wrong("hung: nothing was taken for \(Self.patience) s")
      }
      _ = client.wait(for: POLLIN | POLLOUT, until: Date(timeIntervalSinceNow: 1))
      // A client that sends much must receive too: PINGs, and the failure of what it sends.
      try hear()
    }
  }

  /// Checks the received packets and keeps them.
  private func hear() throws {
    let client = try connection()
    let packets = client.receiveAll(for: 0)
    for packet in packets { try sort(packet) }
    if client.isAtEnd, packets.isEmpty { throw Stop.cut }
  }

  private var aside: [RawPacket] = []

  private func sort(_ packet: RawPacket) throws {
    if packet.isPing {
      pongsDue += 1
      return
    }
    switch packet.header.kind {
    case .reply, .stream:
      if late.contains(packet.header.serial) { return }
      guard expected.contains(packet.header.serial) else {
        throw Stop.wrong("a packet nobody waits for: \(packet)")
      }
    case .message:
      if packet.header.procedure == Remote.connectEventConnectionClosed {
        isMainLost = true
        return
      }
    default: throw Stop.wrong("a packet no server sends: \(packet)")
    }
    aside.append(packet)
  }

  /// PINGs to be answered after the current packet.
  private var pongsDue = 0

  private func answerPings() throws {
    guard pongsDue > 0 else { return }
    pongsDue -= 1
    try send(Packets.keepAlive(KeepAliveProcedure.pong))
  }

  /// The next packet that satisfies a condition. An event may be lost with its daemon, if the broker reports that;
  /// replies and ends of streams may not.
  private func receive(
    _ what: String, mayBeLost: Bool = false, where fits: (RawPacket) -> Bool
  ) throws -> RawPacket {
    var heardAt = Date()
    while true {
      if let index = aside.firstIndex(where: fits) { return aside.remove(at: index) }
      let client = try connection()
      let packets = client.receiveAll(for: 0)
      for packet in packets { try sort(packet) }
      if !packets.isEmpty {
        heardAt = Date()
        continue
      }
      if client.isAtEnd { throw Stop.cut }
      try answerPings()
      if mayBeLost, isMainLost { throw Stop.failed("the daemon is gone") }
      if Date().timeIntervalSince(heardAt) > Self.patience {
        throw Stop.wrong("hung: \(what) did not come in \(Self.patience) s")
      }
      _ = client.wait(for: POLLIN, until: Date(timeIntervalSinceNow: 1))
    }
  }

  private func begin(_ procedure: Int32, _ body: [UInt8]) throws -> PacketHeader {
    let header = try connection().header(procedure)
    expected.insert(header.serial)
    try send(RawClient.packet(header, body))
    return header
  }

  private func reply(to call: PacketHeader) throws -> RawPacket {
    let reply = try receive("the reply to \(call.procedure)") { $0.answers(call.serial) }
    if let error = reply.error { throw Stop.failed(error.message ?? "") }
    if reply.header.status != .ok { throw Stop.wrong("a reply of an odd status: \(reply)") }
    return reply
  }

  @discardableResult
  private func call(_ procedure: Int32, _ body: [UInt8] = []) throws -> RawPacket {
    let header = try begin(procedure, body)
    defer { expected.remove(header.serial) }
    return try reply(to: header)
  }

  private func call(_ procedure: Int32, _ body: some XDRBody) throws -> RawPacket {
    var writer = XDRWriter()
    body.encode(into: &writer)
    return try call(procedure, writer.bytes)
  }

  // MARK: Coming and going

  private func connect() throws {
    expected = []
    late = []
    aside = []
    pongsDue = 0
    isMainLost = false
    do { client = try site.connect(&dice) } catch { throw Stop.cut }
    try call(Remote.authList)
    if dice.once(in: 2) {
      _ = try call(Remote.connectSupportsFeature, FeatureArguments(feature: 10))
    }
    do {
      _ = try call(
        Remote.connectOpen, ConnectOpenArguments(name: "qemu:///system", flags: 0))
      _ = try call(Remote.connectRegisterCloseCallback)
    } catch {
      client = nil
      throw error
    }
  }

  private func leave() throws {
    defer { client = nil }
    switch dice.pick(0...2) {
    case 0: try call(Remote.connectClose)
    case 1: try connection().vanish()
    default: break
    }
  }

  // MARK: Work

  /// Several concurrent calls; each must get its own reply.
  private func calls() throws {
    var sent: [(PacketHeader, [UInt8])] = []
    for _ in 0..<dice.pick(1...12) {
      let most = dice.once(in: 20) ? 300_000 : 500
      let body =
        site.isSynthetic
        ? Content(seed: dice.next(), count: dice.pick(0...most)).bytes(from: 0, atMost: most) : []
      sent.append((try begin(site.isSynthetic ? Agreed.echo : 157, body), body))
    }
    var failure: (any Error)?
    for (header, body) in sent {
      do {
        let reply = try reply(to: header)
        if site.isSynthetic, reply.body != body { throw Stop.wrong("the answer to another call") }
      } catch Stop.failed(let why) {
        failure = Stop.failed(why)
      }
      expected.remove(header.serial)
    }
    if let failure { throw failure }
  }

  /// Synthetic: a counted sequence. Real: a domain is defined and undefined, and both events must arrive.
  private func events() throws {
    guard !site.isSynthetic else {
      let count = dice.pick(1...100)
      _ = try call(Agreed.register, NumberBody(number: Int32(count)))
      for number in 0..<count {
        let event = try receive("event \(number)", mayBeLost: true) { $0.header.kind == .message }
        if event.decoded(NumberBody.self)?.number != Int32(number) {
          throw Stop.wrong("event \(number) of \(count) is missing")
        }
      }
      _ = try call(Agreed.deregister, NumberBody(number: 0))
      return
    }
    // Lifecycle events of all domains.
    let callback = try call(Agreed.register, [0, 0, 0, 0, 0, 0, 0, 0])
    let name = "fault-\(number)"
    let definition =
      "<domain type='qemu'><name>\(name)</name><memory unit='MiB'>16</memory>"
      + "<uuid>6b0f8d3e-91a5-4c27-8e64-\(100_000_000_000 + number)</uuid>"
      + "<os><type arch='x86_64'>hvm</type></os></domain>"
    let domain = try call(Agreed.define, NameArguments(name: definition))
    _ = try call(Agreed.undefine, domain.body)
    // The event 0 is defined, 1 is undefined.
    for kind in [0, 1] as [UInt8] {
      let tail: [UInt8] = [0, 0, 0, kind]
      _ = try receive("the event \(kind) of \(name)", mayBeLost: true) {
        $0.header.kind == .message && $0.body.count > 12 && $0.body.dropLast(4).suffix(4) == tail
          && $0.body.firstRange(of: Array(name.utf8)) != nil
      }
    }
    aside.removeAll { $0.header.kind == .message }
    _ = try call(Agreed.deregister, callback.body)
    aside.removeAll { $0.header.kind == .message }
  }

  /// Migrations whose preparation succeeded.
  static let begun = "migration begun"

  /// Traffic of a migration. A real QEMU does not accept it as a guest: libvirtd starts QEMU, writes to it until QEMU
  /// has ended, reports that and cleans up.
  private func migration() throws {
    let before = account.ends[Self.begun]?.done
    do {
      try upload(asMigration: true)
    } catch Stop.failed where !site.isSynthetic && account.ends[Self.begun]?.done != before {
      return
    }
  }

  private func upload(asMigration isMigration: Bool) throws {
    let content = Content(
      seed: dice.next(),
      count: dice.once(in: 10) ? dice.pick(0...8_000_000) : dice.pick(0...400_000))
    let name = Agreed.name(content)
    let opening: RawPacket
    if isMigration {
      let (procedure, arguments) = site.migration(of: content, by: number)
      opening = try call(procedure, arguments)
      account.ends[Self.begun, default: Account.Ends()].done += 1
    } else {
      opening = try call(Remote.storageVolUpload, site.upload(content, by: number))
    }
    var stream = opening.header
    stream.kind = .stream
    stream.status = .continue
    expected.insert(stream.serial)
    defer { forget(stream.serial) }
    let isGivenUp = dice.once(in: 8)
    var position = 0
    while position < content.count {
      if isGivenUp, position > content.count / 2 { return try end(stream, .error) }
      let most =
        isMigration ? 65_536 : dice.once(in: 3) ? Limits.usualPayload : dice.pick(1...20_000)
      let some = content.bytes(from: position, atMost: most)
      try send(RawClient.packet(stream, some))
      position += some.count
      try failIfOver(stream)
      try answerPings()
    }
    try end(stream, .ok)
    guard !isMigration || site.isSynthetic else { return }
    account.good[name] = content.checksum
    if let trouble = site.trouble(with: content, by: number) {
      throw Stop.wrong("a confirmed upload: \(trouble)")
    }
  }

  private func download() throws {
    let (arguments, content) = site.download(&dice)
    let opening = try call(Remote.storageVolDownload, arguments)
    var stream = opening.header
    stream.kind = .stream
    stream.status = .continue
    expected.insert(stream.serial)
    defer { forget(stream.serial) }
    let isGivenUp = dice.once(in: 8)
    var sum = Checksum()
    while true {
      let packet = try receive("data") { $0.header.serial == stream.serial }
      if let error = packet.error { throw Stop.failed(error.message ?? "") }
      if packet.body.isEmpty { break }
      sum.add(packet.body)
      if isGivenUp, sum.count > content.count / 2 { return try end(stream, .error) }
    }
    try end(stream, .ok)
    if sum != content.checksum {
      throw Stop.wrong("a download came to \(sum) instead of \(content.checksum)")
    }
  }

  private func console() throws {
    var arguments: [UInt8] = []
    if !site.isSynthetic {
      // The domain, its first console, and the flag that disconnects the previous user, which is this client's
      // earlier session.
      arguments = try call(Agreed.lookUp, NameArguments(name: site.guest(of: number))).body
      arguments += [0, 0, 0, 0, 0, 0, 0, 1]
    }
    let opening = try call(Agreed.openConsole, arguments)
    var stream = opening.header
    stream.kind = .stream
    stream.status = .continue
    expected.insert(stream.serial)
    defer { forget(stream.serial) }
    for _ in 0..<dice.pick(1...20) {
      let key = UInt8(dice.pick(97...122))
      try send(RawClient.packet(stream, [key]))
      var isEchoed = false
      while !isEchoed {
        let echo = try receive("the echo of a key") { $0.header.serial == stream.serial }
        if let error = echo.error { throw Stop.failed(error.message ?? "") }
        // A real guest may still send echoes of a session that was cut.
        isEchoed = site.isSynthetic ? echo.body == [key] : echo.body.contains(key)
        if site.isSynthetic, !isEchoed {
          throw Stop.wrong("the key \(key) came back as \(echo.body)")
        }
      }
    }
    try end(stream, .error)
  }

  /// Finishes or aborts a stream. It is good if that is confirmed.
  private func end(_ stream: PacketHeader, _ status: PacketStatus) throws {
    var header = stream
    header.status = status
    try send(Packets.make(header))
    let answer = try receive("the end of a stream") {
      $0.header.serial == stream.serial && $0.header.kind == .stream
        && $0.header.status != .continue
    }
    if let error = answer.error { throw Stop.failed(error.message ?? "") }
  }

  private func failIfOver(_ stream: PacketHeader) throws {
    try hear()
    if let end = aside.first(where: {
      $0.header.serial == stream.serial && $0.header.status == .error
    }) {
      throw Stop.failed(end.error?.message ?? "")
    }
  }

  /// Ignores later packets of a stream that this side has ended.
  private func forget(_ serial: UInt32) {
    expected.remove(serial)
    late.insert(serial)
    aside.removeAll { $0.header.serial == serial }
  }
}
