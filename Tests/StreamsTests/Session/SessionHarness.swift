// A session with sockets and services that a test leads step by step.
@testable import Simulator
@testable import Streams

/// The session's host: notes every action and leaves the answers to the test.
final class SessionHarness: SessionHost {
  let client = PiecedTransport()
  private(set) var backends: [Int: PiecedTransport] = [:]
  private(set) var slots: [Int: Int] = [:]
  private(set) var actions: [SessionAction] = []
  private(set) var deadline: Double?
  private(set) var now = 0.0
  let pool = SegmentPool(capacity: 4096)
  private var made: SessionDriver?
  var driver: SessionDriver {
    guard let made else { preconditionFailure("made with the harness") }
    return made
  }
  var session: Session { driver.session }

  static let peer = UnixPeer(pid: 7, uid: 1000, gid: 100, startTime: 5, selinuxContext: nil)
  static let main = UpstreamTarget(
    daemon: "virtqemud", path: "/run/virtqemud", uri: "qemu:///system", servesAll: false)
  static let storage = UpstreamTarget(
    daemon: "virtstoraged", path: "/run/virtstoraged", uri: "storage:///system", servesAll: false)

  init(
    _ identity: VerifiedIdentity = VerifiedIdentity(), authentication: Authentication = .none,
    isReadOnly: Bool = false, settings: SessionSettings = SessionSettings(), maxRequests: Int = 5,
    watermarks: Watermarks = Watermarks()
  ) {
    let client = SessionClient(
      identity: identity, authentication: authentication, isReadOnly: isReadOnly, mark: 90_100)
    made = SessionDriver(
      Session(client, settings, at: 0), host: self, client: self.client, pool: pool,
      maxRequests: maxRequests, watermarks: watermarks)
    deadline = session.deadline
  }

  // MARK: The host

  func perform(_ action: SessionAction) { actions.append(action) }
  func deadlineChanged(to deadline: Double?) { self.deadline = deadline }
  func turnEnded() {}
  func message(for end: LinkEnd, upstream: Int?) -> Message { Message(.simulated) }

  // MARK: Time

  /// Lets time pass, with every deadline on the way.
  func wait(_ seconds: Double) {
    let end = now + seconds
    while let due = deadline, due <= end, !session.isOver {
      now = due
      deadline = nil
      post(.time)
    }
    now = end
  }

  func post(_ event: SessionEvent) {
    driver.post(event, at: now)
    if !session.isOver { readClient() }
  }

  // MARK: The client

  func fromClient(_ packets: [UInt8]...) {
    for packet in packets { client.supply(packet[...]) }
    readClient()
  }

  /// Reads what the client has sent, as long as the relay wants to.
  private func readClient() {
    while client.hasPieces, driver.relay.clientInterest.contains(.read) {
      driver.clientReady(.read, at: now)
    }
  }

  func toClient() -> [Arrived] { Arrived.read(client.takeBytes()) }

  /// The client takes `room` more bytes.
  func clientReads(_ room: Int = .max) {
    client.room = room
    if driver.relay.clientInterest.contains(.write) { driver.clientReady(.write, at: now) }
  }

  func clientEnds() {
    client.afterwards = .end
    driver.clientReady(.read, at: now)
  }

  // MARK: The backends

  /// The number of the upstream that the host was asked for last.
  var lastUpstream: Int {
    let ids = actions.compactMap { action -> Int? in
      switch action {
      case .connect(let id, _, _), .connectDriver(let id, _, _, _), .reconnect(let id): id
      default: nil
      }
    }
    return ids.last ?? 0
  }

  /// Whether the upstreams that the host was asked for are read-only, in order.
  var readOnlyUpstreams: [Bool] {
    actions.compactMap { action in
      switch action {
      case .connect(_, _, let isReadOnly), .connectDriver(_, _, _, let isReadOnly): isReadOnly
      default: nil
      }
    }
  }

  var driversAskedFor: [Driver] {
    actions.compactMap { if case .connectDriver(_, let driver, _, _) = $0 { driver } else { nil } }
  }

  /// Lets time pass until the host is asked to reach a lost daemon.
  func waitForAttempt() {
    let before = actions.count
    while !actions[before...].contains(where: { if case .reconnect = $0 { true } else { false } }),
      let due = deadline, !session.isOver
    {
      wait(due - now)
    }
  }

  /// Connects the upstream that the host was asked for last.
  func connect(_ target: UpstreamTarget = SessionHarness.main) {
    let id = lastUpstream
    let socket = PiecedTransport()
    backends[id] = socket
    post(.upstream(id, .located(target)))
    slots[id] = driver.attach(id, socket, at: now)
    post(.upstream(id, .connected))
  }

  func fromBackend(_ id: Int, _ packet: [UInt8]) {
    guard let socket = backends[id], let slot = slots[id] else { return }
    socket.supply(packet[...])
    driver.upstreamReady(slot, .read, at: now)
  }

  func toBackend(_ id: Int) -> [Arrived] { Arrived.read(backends[id]?.takeBytes() ?? []) }

  func backendEnds(_ id: Int) {
    guard let socket = backends[id], let slot = slots[id] else { return }
    socket.afterwards = .end
    driver.upstreamReady(slot, .read, at: now)
  }

  /// The backend answers all calls that arrive, each with success. These calls.
  @discardableResult
  func answerCalls(_ id: Int) -> [Arrived] {
    var answered: [Arrived] = []
    while true {
      let calls = toBackend(id)
      guard !calls.isEmpty else { return answered }
      answered += calls
      for call in calls {
        let isList = call.header.procedure == Remote.authList
        fromBackend(
          id,
          isList
            ? Packets.reply(answering: call.header, AuthListResult(types: [0]))
            : Packets.reply(answering: call.header))
      }
    }
  }

  /// Opens the connection as a client of libvirt does. The upstream that it led to.
  @discardableResult
  func open(_ target: UpstreamTarget = SessionHarness.main, flags: UInt32 = 0) -> Int {
    fromClient(SessionHarness.openCall(flags: flags))
    connect(target)
    answerCalls(lastUpstream)
    _ = toClient()
    return lastUpstream
  }

  // MARK: Packets

  static func make(_ procedure: Int32, _ serial: UInt32, _ body: some XDRBody) -> [UInt8] {
    Packets.make(PacketHeader(procedure: procedure, kind: .call, serial: serial), body)
  }

  static func openCall(_ serial: UInt32 = 1, flags: UInt32 = 0) -> [UInt8] {
    make(
      Remote.connectOpen, serial, ConnectOpenArguments(name: "qemu:///system", flags: flags))
  }

  static func feature(_ feature: Int32, _ serial: UInt32) -> [UInt8] {
    make(Remote.connectSupportsFeature, serial, FeatureArguments(feature: feature))
  }
}
