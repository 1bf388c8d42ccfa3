// A console that is typed at, and bulk streams both ways, on one connection and without waiting.
import Glibc
import Streams

/// What is typed at a console, and when.
public struct Typing: Sendable {
  public var perSecond: Double
  public var seconds: Double
  /// The domain whose console it is. The synthetic daemon has any.
  public var domain: String

  public init(perSecond: Double, seconds: Double, domain: String = "bench") {
    self.perSecond = perSecond
    self.seconds = seconds
    self.domain = domain
  }
}

/// One keystroke that came back.
public struct Echo: Sendable {
  /// From the moment the key was due to the arrival of its echo, in nanoseconds.
  public var nanoseconds: UInt64
  /// Bytes of other packets that the kernel still had to send when the key was given to it.
  public var bytesBefore: UInt64
  /// Bytes of other packets that arrived between the key's departure and its echo.
  public var bytesBetween: UInt64
}

extension Client {
  /// Types single letters at a console as `typing` says and tells `echoed` of every echo. With
  /// `isBusy` a download and an upload saturate the same connection meanwhile; the bytes they moved.
  @discardableResult
  public func type(_ typing: Typing, isBusy: Bool = false, echoed: (Echo) -> Void)
    throws(EndFailure) -> UInt64
  {
    try converse(typing, isBusy: isBusy, until: nil, echoed: echoed)
  }

  /// A download and an upload saturate this connection until `sign` is up; the bytes moved.
  @discardableResult
  public func saturate(until sign: StopSign) throws(EndFailure) -> UInt64 {
    try converse(nil, isBusy: true, until: sign) { _ in }
  }

  private func converse(
    _ typing: Typing?, isBusy: Bool, until sign: StopSign?, echoed: (Echo) -> Void
  ) throws(EndFailure) -> UInt64 {
    // The console is opened before the bulk, so that nothing of its waits already.
    let keyboard: Keyboard? = if let typing { try Keyboard(typing, on: self) } else { nil }
    let bulk: Bulk? = if isBusy { try Bulk(on: self) } else { nil }
    let timer = try Timer()
    var received: UInt64 = 0

    // Whole turns: what is due leaves, what is there arrives, and nothing waits for anything else.
    var current: PacketHeader?
    while true {
      let time = now()
      if let keyboard {
        if keyboard.isOver(at: time) { break }
      } else if sign?.isUp ?? true {
        break
      }
      // A key overtakes the packets that have not begun to leave.
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
    // What left in part is finished, and then the streams are.
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

  /// Finishes the streams and waits for their confirmations, whatever else arrives.
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

/// The keys that were pressed at one console, and their echoes.
private final class Keyboard {
  /// Echoes that take longer than this are given up, in nanoseconds.
  static let patience: UInt64 = 10_000_000_000
  /// So many keys at most wait for their echoes.
  private static let memory: UInt64 = 4096

  let header: PacketHeader
  private let schedule: Schedule
  private let end: UInt64
  private(set) var pressed: UInt64 = 0
  private(set) var echoed: UInt64 = 0
  /// What was under way when a key was pressed, at its number modulo the size.
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

  /// When the next key is due; when there is none, when the echoes are given up.
  var nextMoment: UInt64 {
    let moment = schedule.moment(pressed)
    return moment < end && pressed - echoed < Self.memory ? moment : end + Self.patience
  }

  func isDue(at time: UInt64) -> Bool { nextMoment <= time && schedule.moment(pressed) < end }

  func isOver(at time: UInt64) -> Bool {
    schedule.moment(pressed) >= end && echoed == pressed || time >= end + Self.patience
  }

  /// Puts the next key's packet aside, to be sent at once.
  func press(_ outflow: Outflow, unsent: Int, received: UInt64) throws(EndFailure) {
    key[0] = Self.letter(pressed)
    try outflow.put(header, UnsafeRawBufferPointer(key))
    marks[Int(pressed % Self.memory)] = (UInt64(unsent), received)
    pressed += 1
  }

  /// The echo that `byte` is, or nil: a guest may also say something by itself.
  func take(_ byte: UInt8, at time: UInt64, received: UInt64) -> Echo? {
    guard echoed < pressed, byte == Self.letter(echoed) else { return nil }
    let mark = marks[Int(echoed % Self.memory)]
    defer { echoed += 1 }
    return Echo(
      nanoseconds: time - schedule.moment(echoed), bytesBefore: mark.before,
      bytesBetween: received - mark.received)
  }

  /// Letters in turn, so that an echo that is lost does not look like the one before it.
  private static func letter(_ number: UInt64) -> UInt8 { UInt8(ascii: "a") + UInt8(number % 26) }
}

/// A download and an upload without end.
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
    // The upload first: its reply would otherwise wait among the download's packets.
    up = try open(.upload)
    down = try open(.download)
  }

  /// Sets out the upload's next packet, if none is on its way.
  func prepare() {
    guard !run.isPending else { return }
    position = run.start(
      up, from: position, to: Transfer.endless, message: TransferKind.upload.usualMessage)
  }
}
