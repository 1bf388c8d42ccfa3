// Everything one client has under way: its connection, its upstream connections, and what travels
// between them. This file is the picture; the ways of single packets are in Relay+Client.swift and
// Relay+Upstream.swift.

/// What the relay asks of its owner. The owner must not call the relay from within, but for `resume`, `reply` and
/// `remove`: what it decides, it carries out when the relay's turn is over.
public protocol RelayOwner: RelayObserver {
  /// A call that may be for the broker itself, with its whole body. True: it will be answered with `reply`, and the
  /// relay passes on nothing of the client before `resume`. False: it is passed on.
  func takes(_ call: PacketHeader, body: [UInt8]) -> Bool
  /// The upstream for a driver's calls, or the error that says why there is none. Nil: the relay passes on nothing of
  /// the client before `provide`.
  func route(to driver: Driver) -> Result<Route, RemoteError>?
  /// The reply to a call of the broker's own on an upstream.
  func upstream(_ slot: Int, answered reply: PacketHeader, body: [UInt8])
  /// An upstream connection is over. It keeps its slot until the owner calls `remove(upstream:telling:)`.
  func upstream(_ slot: Int, ended reason: LinkEnd)
}

/// Whom the relay tells what has become of calls and streams, for records and rates.
public protocol RelayObserver: AnyObject {
  /// Where answers are counted, if they are: asked once.
  var answerCounts: AnswerCounts? { get }
  /// Whether it wants to hear of answers to calls that do this: asked once. It always hears of those to calls that
  /// open streams.
  func wantsAnswers(to access: Access) -> Bool
  /// A daemon has answered a call of the client's.
  func answered(_ call: Call, _ status: PacketStatus)
  /// The stream of a call is over, or was not opened. What it belonged to, where that is known.
  func ended(_ call: Call, object: StreamObject?, _ result: StreamResult)
  /// The rates that a stream of this kind, opened by this client now, is to be kept to.
  func meters(for kind: StreamKind) -> [Meter]
}

extension RelayObserver {
  public var answerCounts: AnswerCounts? { nil }
  public func wantsAnswers(to access: Access) -> Bool { false }
  public func answered(_ call: Call, _ status: PacketStatus) {}
  public func ended(_ call: Call, object: StreamObject?, _ result: StreamResult) {}
  public func meters(for kind: StreamKind) -> [Meter] { [] }
}

/// Where a driver's calls go.
public struct Route: Equatable, Sendable {
  /// The upstream's slot.
  public var slot: Int
  /// As long as that upstream lives. Otherwise the owner is asked again for the next call: a daemon that
  /// was not there may have come.
  public var isLasting: Bool

  public init(slot: Int, isLasting: Bool) {
    self.slot = slot
    self.isLasting = isLasting
  }
}

/// How much may wait, in bytes, in each direction.
public struct Watermarks: Sendable, Equatable {
  /// A source is paused when more than this waits for its destination, and resumed below half of it.
  public var high: Int
  /// What is read ahead of a client whose calls are held back, so that its PINGs are seen.
  public var ahead: Int
  /// The broker's own packets to a client; one that does not read its PONGs is not read either.
  public var own: Int
  /// Streams of one client at a time. libvirt has no such limit, but each costs a daemon and us memory.
  public static let streams = 1024

  public init(high: Int = 512 * 1024, ahead: Int = 512 * 1024, own: Int = 64 * 1024) {
    self.high = high
    self.ahead = ahead
    self.own = own
  }
}

/// One connection to a backend daemon, as the data flow sees it.
final class UpstreamLink {
  let link: Link
  /// Packets of the client, held while the upstream is being opened.
  let fromClient: SendQueue
  /// Packets for the client: a queue of the client's scheduler.
  let toClient: SendQueue
  /// Serial of a call of the broker's own whose reply is awaited.
  var ownSerial: UInt32?
  /// The owner has been told that the connection is over.
  var isEndTold = false
  /// Where the rest of a large packet for the client follows its beginning.
  var passingDown: SendQueue?
  /// Not read, because too much waits for the client.
  var isPaused = false

  init(transport: any Transport, pool: SegmentPool, largestWhole: Int) {
    link = Link(
      transport: transport, pool: pool, announcing: .replyWithDescriptors,
      largestWhole: largestWhole)
    fromClient = SendQueue(pool: pool)
    toClient = SendQueue(pool: pool)
    fromClient.isHeld = true
    link.scheduler.add(fromClient)
  }
}

/// What has passed, for those who look.
public struct Counters: Equatable, Sendable {
  public var packetsUp: UInt64 = 0
  public var packetsDown: UInt64 = 0
  public var calls: UInt64 = 0
  public var replies: UInt64 = 0
  public var events: UInt64 = 0
  public var streams: UInt64 = 0
  /// Packets nobody wanted: of streams that are over, of kinds that have no receiver.
  public var dropped: UInt64 = 0

  public init() {}
}

/// The relay between a client and its upstreams. Every byte that arrives is scanned for packet edges,
/// each packet is queued where it belongs as a slice of the segment it arrived in, and each queue is
/// sent as far as its socket takes it; a source is read only while what it gave has somewhere to go.
public final class Relay {
  let pool: SegmentPool
  let client: Link
  var upstreams: [UpstreamLink?] = []
  /// Lanes of upstreams that are gone, with packets still to deliver.
  var drainingQueues: [SendQueue] = []
  var calls = CallTable()
  /// What the streams under way belong to, by the keys of their calls.
  var objects: [UInt64: StreamObject] = [:]
  /// Which upstream serves a driver, by the driver's number; -1: ask the owner.
  var routes = [Int](repeating: -1, count: Driver.allCases.count)
  let watermarks: Watermarks
  let largestWhole: Int
  unowned(unsafe) let owner: any RelayOwner
  let answerCounts: AnswerCounts?
  /// A bit for each kind of access whose answers the owner hears of.
  private let toldAccesses: UInt8

  /// The time in seconds, on whatever clock the owner has: to be set before each turn.
  public var now = 0.0
  var pausedByClient = Stopwatch()
  var pausedByBackend = Stopwatch()
  var pausedByLimit = Stopwatch()
  /// One of these was going on at the end of the last turn.
  var isPauseNoted = false
  /// Some upstream is paused.
  private var isAnyPaused = false

  /// Calls of the client that may be under way at a time.
  public var maxRequests: Int
  /// Before the client's CONNECT_OPEN has succeeded the owner answers every call.
  public var isOpen = false
  /// Nothing of the client is looked at but keepalive: the owner is busy with a call of its own.
  public var isHeld = false
  /// The owner has taken a call and not been asked to resume yet.
  var awaitsOwner = false
  /// A call that waits for a route to its driver. It is still at the front of what the client has sent.
  var unrouted: (frame: Frame, driver: Driver)?
  /// The route it got.
  var provided: Result<Int, RemoteError>?
  /// What the client sends is read and dropped.
  public private(set) var discardsClient = false
  /// The client asked to be told when the backend goes away.
  public internal(set) var hasCloseCallback = false
  public internal(set) var counters = Counters()

  /// The upstream that gets the rest of a large packet of the client, and the queue that takes it; nil: it is dropped.
  var passingTo: (upstream: UpstreamLink, sendQueue: SendQueue)?
  /// A call of the client that the broker answers and that is too large to be kept: its header and the beginning of
  /// its arguments.
  var largeCall: (header: PacketHeader, arguments: [UInt8])?
  /// More waits for an upstream than should.
  var isCongested = false
  /// More of streams with a rate waits to go up than should.
  var isMetered = false
  /// Streams with a rate, by the number in their call.
  var metered: [MeteredStream?] = []
  var meteredCount = 0
  /// The packet at the client's front is a call that has to wait for another one's reply.
  var callWaits = false

  /// - Parameters:
  ///   - owner: must outlive the relay.
  ///   - largestWhole: packets up to this size are forwarded whole, larger ones as they come.
  public init(
    client transport: any Transport, owner: any RelayOwner, pool: SegmentPool, maxRequests: Int,
    watermarks: Watermarks = Watermarks(), largestWhole: Int = Limits.usualPacket
  ) {
    self.owner = owner
    answerCounts = owner.answerCounts
    toldAccesses = Access.allCases.reduce(0) { bits, access in
      owner.wantsAnswers(to: access) ? bits | access.bit : bits
    }
    self.pool = pool
    self.watermarks = watermarks
    self.maxRequests = maxRequests
    self.largestWhole = largestWhole
    client = Link(
      transport: transport, pool: pool, announcing: .callWithDescriptors,
      largestWhole: largestWhole)
  }

  deinit { letGo() }

  // MARK: A turn

  /// The client's socket is ready.
  public func clientReady(_ ready: Interest) {
    if ready.contains(.write) { client.scheduler.unblock() }
    if ready.contains(.read) {
      let most = client.received &+ Relay.bytesPerTurn
      while mayReadClient, client.receive() {
        routeFromClient()
        guard client.receiveBuffer.wasFilled, client.received < most else { break }
      }
    }
    settle()
  }

  /// An upstream's socket is ready.
  public func upstreamReady(_ slot: Int, _ ready: Interest) {
    guard let upstream = upstreams[slot] else { return }
    if ready.contains(.write) { upstream.link.scheduler.unblock() }
    if ready.contains(.read) {
      let most = upstream.link.received &+ Relay.bytesPerTurn
      while upstream.link.end == nil, !upstream.isPaused, upstream.link.receive() {
        routeFromUpstream(upstream, slot)
        client.flush(at: now)
        pauseOrResume(upstream)
        guard upstream.link.receiveBuffer.wasFilled, upstream.link.received < most else { break }
      }
    }
    settle()
  }

  /// Bytes that are read from one socket before others are looked at: fairness among clients. The read that reaches it is
  /// the last of the turn, so a turn relays one segment more at most: 1.7 ms at the 2.5 GiB/s of one download. With 1 MiB
  /// downloads had 0.81 of the rate they have without a bound, at 1.25 of the processor time; with 4 MiB 1.02 and 0.97
  /// (medians of 4 and 6 rounds, relay and ends on a processor each).
  static let bytesPerTurn: UInt64 = 4 << 20

  /// Moves everything that can move, until nothing can. To be called after each change from outside.
  public func settle() {
    var progress = true
    while progress {
      progress = false
      client.flush(at: now)
      // A client that takes nothing any more has nobody to answer to.
      if let failure = client.sendFailure { client.end = client.end ?? failure }
      for slot in upstreams.indices {
        guard let upstream = upstreams[slot] else { continue }
        upstream.link.flush(at: now)
        if upstream.link.sendFailure != nil { readLastWords(upstream, slot) }
        pauseOrResume(upstream)
        guard let end = upstream.link.end, !upstream.isEndTold else { continue }
        upstream.isEndTold = true
        owner.upstream(slot, ended: end)
        progress = true
      }
      takeStock()
      if mayRoute, client.receiveBuffer.waiting > 0, routeFromClient() { progress = true }
    }
    client.receiveBuffer.settle()
    for upstream in upstreams { upstream?.link.receiveBuffer.settle() }
    if !drainingQueues.isEmpty { removeDrained() }
    if meteredCount > 0 { dismissMetered() }
    if isPauseNoted || isCongested || isAnyPaused || meteredCount > 0 { notePauses() }
  }

  /// How much waits, and who waits for it.
  private func takeStock() {
    var most = 0
    var isAnyPaused = false
    for case let upstream? in upstreams {
      most = max(most, upstream.fromClient.queue.bytes)
      if upstream.isPaused { isAnyPaused = true }
    }
    self.isAnyPaused = isAnyPaused
    isCongested = most > (isCongested ? watermarks.high / 2 : watermarks.high)
    if isMetered || meteredCount > 0 {
      isMetered = meteredUp > (isMetered ? watermarks.high / 2 : watermarks.high)
    }
  }

  private func removeDrained() {
    drainingQueues.removeAll { sendQueue in
      guard sendQueue.queue.isEmpty else { return false }
      client.scheduler.remove(sendQueue, client.transport)
      return true
    }
  }

  /// The daemon takes nothing any more. What it has sent before is still read and passed on: replies to
  /// calls it has carried out, or why a stream failed. Then its connection is over.
  private func readLastWords(_ upstream: UpstreamLink, _ slot: Int) {
    while upstream.link.end == nil, !upstream.isPaused {
      guard upstream.link.receive() else {
        if let failure = upstream.link.sendFailure {
          upstream.link.end = upstream.link.end ?? failure
        }
        return
      }
      routeFromUpstream(upstream, slot)
      client.flush(at: now)
      pauseOrResume(upstream)
    }
  }

  private func pauseOrResume(_ upstream: UpstreamLink) {
    var waiting = upstream.toClient.queue.bytes
    if meteredCount > 0 {
      waiting = max(waiting, meteredDown(from: upstream))
      if mustFinish(upstream.passingDown) { waiting = 0 }
    }
    if waiting > watermarks.high { upstream.isPaused = true }
    if waiting <= watermarks.high / 2 { upstream.isPaused = false }
  }

  // MARK: What the state allows

  /// Packets of the client may be passed on. The limit of calls holds the next call back with all that is
  /// behind it, but neither a stream's packets in front of it nor the rest of a call that has begun to go
  /// out: a keystroke waits for no reply, and a reply waits for that rest.
  var mayRoute: Bool {
    client.end == nil && !isHeld && !awaitsOwner && (unrouted == nil || provided != nil) && !isFull
      && client.own.queue.bytes <= watermarks.own
      && !(callWaits && calls.awaitedCount >= maxRequests)
  }

  /// No more of the client's packets is taken in.
  private var isFull: Bool { (isCongested || isMetered) && !mustFinish(passingTo?.sendQueue) }

  private var mayReadClient: Bool {
    guard !discardsClient else { return client.end == nil }
    // Until a call at the front has its route, where the packets behind it begin is not known.
    return client.end == nil && unrouted == nil && client.own.queue.bytes <= watermarks.own
      && (mayRoute || client.receiveBuffer.waiting < watermarks.ahead)
  }

  /// What the client's socket is to be watched for. A function of the state alone.
  public var clientInterest: Interest {
    guard client.end == nil else { return [] }
    var interest: Interest = mayReadClient ? .read : []
    if client.scheduler.isBlocked, client.scheduler.hasWork {
      interest.formUnion(client.scheduler.blockedOn)
    }
    return interest
  }

  /// What an upstream's socket is to be watched for. A function of the state alone.
  public func upstreamInterest(_ slot: Int) -> Interest {
    guard let upstream = upstreams[slot], upstream.link.end == nil else { return [] }
    var interest: Interest = upstream.isPaused ? [] : .read
    if upstream.link.scheduler.isBlocked, upstream.link.scheduler.hasWork {
      interest.formUnion(upstream.link.scheduler.blockedOn)
    }
    return interest
  }

  /// Why the client's connection is over, once it is.
  public var clientEnd: LinkEnd? { client.end }
  /// The client is connected but not read, because what it sent has nowhere to go.
  public var isClientPaused: Bool { client.end == nil && !mayReadClient }
  /// Bytes the client has sent; grows with every sign of life.
  public var receivedFromClient: UInt64 { client.received }
  public var sentToClient: UInt64 { client.sent }
  func tellsAnswers(to access: Access) -> Bool { toldAccesses & access.bit != 0 }
  /// Bytes that wait for the client, and for all upstreams together.
  public var waitingForClient: Int { client.scheduler.bytes }
  public var waitingForUpstreams: Int {
    upstreams.reduce(client.receiveBuffer.waiting) { $0 + ($1?.link.scheduler.bytes ?? 0) }
  }
  /// Bytes of the client that were read and not passed on or answered yet.
  public var unroutedFromClient: Int { client.receiveBuffer.waiting }
  public var callsUnderWay: [Call] { calls.calls }
  public var awaitedCount: Int { calls.awaitedCount }
  /// Streams that are not over.
  public var streamCount: Int { calls.count == 0 ? 0 : calls.calls.count { $0.isStreamAlive } }
  /// Calls without an answer for `patience` seconds, each told once; `now` is the owner's clock.
  public func overdueCalls(at now: Double, patience: Double) -> [Call] {
    calls.overdue(at: now, patience: patience)
  }

  // MARK: The broker's own packets

  /// Queues a packet of the broker's own for the client; `settle` sends it.
  public func reply(_ packet: [UInt8]) {
    guard client.end == nil else { return }
    packet.withUnsafeBytes { bytes in
      client.own.queue.append(copying: bytes)
      guard let base = bytes.baseAddress, bytes.count >= Limits.header else { return }
      let header = PacketHeader(at: base)
      if header.kind == .reply {
        answerCounts?.note(header.program, header.procedure, header.status)
      }
    }
  }

  /// The call that the owner took is dealt with: what follows it may be looked at.
  public func resume() { awaitsOwner = false }

  /// Where the calls of a driver go that the owner was asked about.
  public func provide(_ route: Result<Route, RemoteError>, for driver: Driver) {
    guard let unrouted, unrouted.driver == driver else { return }
    provided = route.map { note($0, for: driver) }
  }

  /// Remembers a route as long as it lasts.
  func note(_ route: Route, for driver: Driver) -> Int {
    if route.isLasting { routes[Int(driver.rawValue)] = route.slot }
    return route.slot
  }

  /// Queues a call of the broker's own for an upstream; its reply goes to the owner.
  public func call(_ slot: Int, serial: UInt32, _ packet: [UInt8], behindClient: Bool = false) {
    guard let upstream = upstreams[slot] else { return }
    upstream.ownSerial = serial
    upstream.link.receiveBuffer.largestWhole = max(largestWhole, Limits.ownReply)
    let sendQueue = behindClient ? upstream.fromClient : upstream.link.own
    packet.withUnsafeBytes { sendQueue.queue.append(copying: $0) }
  }

  // MARK: Upstreams come and go

  /// Adds a connection to a backend daemon. The client's packets for it wait until `upstreamIsOpen`.
  /// Returns its slot.
  public func add(upstream transport: any Transport) -> Int {
    let upstream = UpstreamLink(transport: transport, pool: pool, largestWhole: largestWhole)
    client.scheduler.add(upstream.toClient)
    if let free = upstreams.firstIndex(where: { $0 == nil }) {
      upstreams[free] = upstream
      return free
    }
    upstreams.append(upstream)
    return upstreams.count - 1
  }

  /// The upstream is ready for the client's packets.
  public func upstreamIsOpen(_ slot: Int) { upstreams[slot]?.fromClient.isHeld = false }

  /// Ends an upstream. What it has already given still arrives; then every call it owes a reply gets
  /// `error`, every stream it carries a stream error with the same words.
  public func remove(upstream slot: Int, telling error: RemoteError, closedEvent: Bool = false) {
    guard let upstream = upstreams[slot] else { return }
    upstreams[slot] = nil
    for (driver, route) in routes.enumerated() where route == slot { routes[driver] = -1 }
    if passingTo?.upstream === upstream { passingTo = nil }
    if provided == .success(slot) { provided = .failure(error) }
    let isBroken = releaseMetered(of: slot)
    if isBroken || upstream.toClient.unfinished > 0 { client.end = client.end ?? .brokenOff }
    upstream.link.clear()
    // Behind what still waits there; otherwise among the broker's own packets, which a client has to read
    // before it can make more of them necessary.
    let sendQueue: SendQueue
    if client.end == nil, !upstream.toClient.queue.isEmpty {
      sendQueue = upstream.toClient
      drainingQueues.append(sendQueue)
    } else {
      sendQueue = client.own
      client.scheduler.remove(upstream.toClient, client.transport)
    }
    guard client.end == nil else {
      calls.removeAll(upstream: slot) { call in ended(call, .clientGone) }
      return forgetMetered(of: slot)
    }
    if closedEvent, hasCloseCallback {
      append(
        Packets.event(
          Remote.connectEventConnectionClosed,
          ConnectionClosedEvent(reason: ConnectionClosedEvent.endOfFile)), to: sendQueue)
    }
    calls.removeAll(upstream: slot) { call in
      // A call that was answered is there only for its stream.
      let packet =
        call.isAnswered
        ? Packets.streamError(
          program: call.program, procedure: call.procedure, serial: call.serial, error)
        : Packets.error(answering: call.header, error)
      let own = call.metered >= 0 ? metered[call.metered]?.down : nil
      append(packet, to: own ?? sendQueue)
      ended(call, .backendLost)
    }
    forgetMetered(of: slot)
  }

  func append(_ packet: [UInt8], to sendQueue: SendQueue) {
    packet.withUnsafeBytes { sendQueue.queue.append(copying: $0) }
  }

  /// From now on what the client sends is read and dropped; packets for it still go out. To be called when no
  /// upstream is left, and not from within `takes`.
  public func discardClient() {
    discardsClient = true
    isHeld = true
    passingTo = nil
    largeCall = nil
    unrouted = nil
    provided = nil
    client.receiveBuffer.clear(client.transport)
  }

  /// Ends everything and lets go of every segment and descriptor.
  public func clear() {
    for slot in upstreams.indices {
      calls.removeAll(upstream: slot) { call in ended(call, .clientGone) }
    }
    letGo()
  }

  private func letGo() {
    client.clear()
    for upstream in upstreams { upstream?.link.clear() }
    upstreams = []
    drainingQueues = []
    metered = []
    meteredCount = 0
    passingTo = nil
    unrouted = nil
    provided = nil
  }
}
