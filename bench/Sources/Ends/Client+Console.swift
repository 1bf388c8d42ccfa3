// Keystrokes at a console and bulk streams in both directions on one connection, without blocking.
import Glibc
import Streams

/// Keystrokes at a console.
public struct Typing: Sendable {
  public var perSecond: Double
  public var seconds: Double
  /// The domain of the console. The synthetic daemon accepts any name.
  public var domain: String

  public init(perSecond: Double, seconds: Double, domain: String = "bench") {
    self.perSecond = perSecond
    self.seconds = seconds
    self.domain = domain
  }
}

/// The echo of one keystroke.
public struct Echo: Sendable {
  /// From the scheduled time of the key to the arrival of its echo, in nanoseconds.
  public var nanoseconds: UInt64
  /// Bytes of other packets that the kernel had not sent when it got the key.
  public var bytesBefore: UInt64
  /// Bytes of other packets that arrived between sending the key and receiving its echo.
  public var bytesBetween: UInt64
}

extension Client {
  /// Sends single letters to a console as `typing` specifies and passes each echo to `echoed`. With `isBusy` a
  /// download and an upload saturate the same connection meanwhile. Returns the bytes they moved.
  @discardableResult
  public func type(_ typing: Typing, isBusy: Bool = false, echoed: (Echo) -> Void)
    throws(EndFailure) -> UInt64
  {
    try converse(typing, isBusy: isBusy, until: nil, echoed: echoed)
  }

  /// Saturates this connection with a download and an upload until `sign` is raised. Returns the bytes moved.
  @discardableResult
  public func saturate(until sign: StopSign) throws(EndFailure) -> UInt64 {
    try converse(nil, isBusy: true, until: sign) { _ in }
  }

  private func converse(
    _ typing: Typing?, isBusy: Bool, until sign: StopSign?, echoed: (Echo) -> Void
  ) throws(EndFailure) -> UInt64 {
    // The console is opened first, so that no bulk data precede it.
    let keyboard: Keyboard? = if let typing { try Keyboard(typing, on: self) } else { nil }
    let bulk: Bulk? = if isBusy { try Bulk(on: self) } else { nil }
    let timer = try Timer()
    var received: UInt64 = 0

    // Each turn sends what is due and receives what has arrived, and waits for nothing else.
    var current: PacketHeader?
    while true {
      let time = now()
      if let keyboard {
        if keyboard.isOver(at: time) { break }
      } else if sign?.isUp ?? true {
        break
      }
      // A key overtakes the bulk packets that have not started.
      var isSent = outflow.isEmpty
      if bulk?.run.isPending != true {
        while keyboard?.isDue(at: time) == true {
          try keyboard?.press(outflow, unsent: socket.unsent, received: received)
        }
        isSent = try outflow.flush(waiting: false)
      }
      var isMoving = false
      if isSent, let bulk {
        bulk.prepare()
        isSent = try bulk.run.send(to: socket)
        isMoving = isSent
      }
      if try inflow.receive() {
        isMoving = true
        let arrival = now()
        while true {
          if inflow.bodyLeft > 0, let header = current {
            let piece = inflow.bufferedPiece()
            if piece.isEmpty { break }
            if header.serial == keyboard?.header.serial, header.kind == .stream {
              for byte in piece {
                if let echo = keyboard?.take(byte, at: arrival, received: received) { echoed(echo) }
              }
            } else {
              received += UInt64(piece.count)
            }
            continue
          }
          guard let header = try inflow.bufferedHeader() else { break }
          try check(header)
          current = header
        }
      }
      if isMoving { continue }
      timer.set(keyboard?.nextMoment ?? (time + 10_000_000))
      socket.wait(for: isSent ? POLLIN : POLLIN | POLLOUT, or: timer)
    }
    // Finish the packet that was sent in part, then the streams.
    if let bulk { while try !bulk.run.send(to: socket, waiting: true) {} }
    try outflow.flush()
    let sent = bulk?.position ?? 0
    try finish([keyboard?.header, bulk?.up, bulk?.down].compactMap { $0 })
    if let keyboard, keyboard.echoed < keyboard.pressed {
      throw EndFailure(
        "of \(keyboard.pressed) keystrokes only \(keyboard.echoed) were echoed within "
          + "\(Keyboard.patience / 1_000_000_000) seconds")
    }
    return sent + received
  }

  /// Finishes the streams and waits for their confirmations, skipping other packets.
  private func finish(_ streams: [PacketHeader]) throws(EndFailure) {
    for var header in streams {
      header.status = .ok
      try outflow.put(header)
    }
    try outflow.flush()
    var unconfirmed = Set(streams.map(\.serial))
    while !unconfirmed.isEmpty {
      guard let header = try inflow.header() else {
        throw EndFailure("the daemon closed the connection before it confirmed all streams")
      }
      try check(header)
      if header.kind == .stream, header.status == .ok { unconfirmed.remove(header.serial) }
    }
  }
}

/// The keys sent to one console, and their echoes.
private final class Keyboard {
  /// An echo counts as lost after this time, in nanoseconds.
  static let patience: UInt64 = 10_000_000_000
  /// The limit on keys that wait for their echoes.
  private static let memory: UInt64 = 4096

  let header: PacketHeader
  private let schedule: Schedule
  private let end: UInt64
  private(set) var pressed: UInt64 = 0
  private(set) var echoed: UInt64 = 0
  /// What was under way when a key was sent. The index is its number modulo the size.
  private var marks = [(before: UInt64, received: UInt64)](
    repeating: (0, 0), count: Int(memory))
  private let key = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)

  init(_ typing: Typing, on client: Client) throws(EndFailure) {
    let domain = try client.lookUp(domain: typing.domain)
    let call = client.nextCall(Call.domainOpenConsole)
    try client.call(Packets.make(call, OpenConsoleArguments(domain: domain)))
    header = PacketHeader(
      procedure: call.procedure, kind: .stream, serial: call.serial, status: .continue)
    schedule = Schedule(from: now(), perSecond: typing.perSecond)
    end = schedule.start + UInt64(typing.seconds * 1e9)
  }

  deinit { key.deallocate() }

  /// The time of the next key; after the last key, the time at which waiting for echoes ends.
  var nextMoment: UInt64 {
    let moment = schedule.moment(pressed)
    return moment < end && pressed - echoed < Self.memory ? moment : end + Self.patience
  }

  func isDue(at time: UInt64) -> Bool { nextMoment <= time && schedule.moment(pressed) < end }

  func isOver(at time: UInt64) -> Bool {
    schedule.moment(pressed) >= end && echoed == pressed || time >= end + Self.patience
  }

  /// Queues the next key's packet to be sent at once.
  func press(_ outflow: Outflow, unsent: Int, received: UInt64) throws(EndFailure) {
    key[0] = Self.letter(pressed)
    try outflow.put(header, UnsafeRawBufferPointer(key))
    marks[Int(pressed % Self.memory)] = (UInt64(unsent), received)
    pressed += 1
  }

  /// The echo for `byte`; nil if it is none, because a guest may also write by itself.
  func take(_ byte: UInt8, at time: UInt64, received: UInt64) -> Echo? {
    guard echoed < pressed, byte == Self.letter(echoed) else { return nil }
    let mark = marks[Int(echoed % Self.memory)]
    defer { echoed += 1 }
    return Echo(
      nanoseconds: time - schedule.moment(echoed), bytesBefore: mark.before,
      bytesBetween: received - mark.received)
  }

  /// The letters in turn, so that a lost echo differs from the one before it.
  private static func letter(_ number: UInt64) -> UInt8 { UInt8(ascii: "a") + UInt8(number % 26) }
}

/// An endless download and upload.
private final class Bulk {
  let down: PacketHeader
  let up: PacketHeader
  let run = OutgoingRun()
  private(set) var position: UInt64 = 0

  init(on client: Client) throws(EndFailure) {
    func open(_ kind: TransferKind) throws(EndFailure) -> PacketHeader {
      let call = client.nextCall(kind.procedure)
      try client.call(client.opening(call, Transfer(kind, bytes: Transfer.endless)))
      return PacketHeader(
        procedure: call.procedure, kind: .stream, serial: call.serial, status: .continue)
    }
    // The upload first: otherwise its reply would wait among the download's packets.
    up = try open(.upload)
    down = try open(.download)
  }

  /// Prepares the upload's next packet, if none is being sent.
  func prepare() {
    guard !run.isPending else { return }
    position = run.start(
      up, from: position, to: Transfer.endless, message: TransferKind.upload.usualMessage)
  }
}
