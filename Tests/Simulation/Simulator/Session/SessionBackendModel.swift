// A backend daemon of a simulated session, seen from its end of one upstream connection.
@testable import Streams

/// The procedures of event registrations.
enum Registering {
  static let register: Int32 = 316
  static let end: Int32 = 317
  static let list: Int32 = 273
  /// An event without a callback's number.
  static let plainEvent: Int32 = 169

  /// A registration, or the end of one.
  static func isOne(_ call: PacketHeader) -> Bool {
    call.program == Program.remote && (call.procedure == register || call.procedure == end)
  }
}

/// Answers the broker's own calls as libvirt's daemons do, and checks their order and their contents; answers the
/// client's calls, raises events, hangs and dies.
final class SessionBackendModel {
  /// What AUTH_LIST is answered with.
  enum Method {
    case none, polkit, sasl, refused
    /// A daemon from before authentication existed.
    case old
  }

  /// How far the broker has come, by the answers it received.
  enum Stage: Equatable {
    case start, mustLogIn, saslOffered, saslStarted, mayOpen, opened, ready, closing, refused
  }

  /// What the broker must send.
  struct Expectation {
    var target: UpstreamTarget
    /// What the packets of its client say.
    var tag: UInt32
    /// Its streams may have a rate.
    var isMetered = false
    /// Whose own daemon it is; nil: the one that the client opened.
    var driver: Driver?
    var isReadOnly: Bool
    /// The feature numbers that answer the broker's own calls.
    var ownFeatures: Set<Int32>
  }

  /// Serials of the broker's own calls start here.
  static let firstOwnSerial: UInt32 = 0xFFFF_0000
  /// Procedures that the broker answers itself.
  private static let brokers: Set<Int32> = [1, 2, 66, 67, 68, 69, 70, 419]

  /// Event registrations: each callback's ID and number of its event.
  private(set) var callbacks: [(id: Int32, event: Int32)] = []
  private var nextCallback: Int32 = 0
  let domains: SimulatedDomains
  /// The guests when a client's registration was carried out, by the serial of its call.
  var seenAt: [UInt32: [UInt8: SimulatedDomains.Guest]] = [:]

  let id: Int
  let expectation: Expectation
  let socket: ScriptedTransport
  let method: Method
  /// Steps of the broker's SASL login until this daemon is satisfied.
  let saslSteps: Int
  var saslStep = 0
  private(set) var stage = Stage.start
  private(set) var pending: [PacketHeader] = []
  /// SET_IDENTITY as it arrived.
  private var identity: [TypedParameter]?
  private(set) var clientCalls: [PacketHeader] = []
  var streams: [Stream] = []
  private var marks: [Int32]
  var isHung = false
  var isDead = false
  /// The session has removed it, with so many sends until then.
  var removedAfter: Int?
  private(set) var problem: String?
  private(set) var trace = Trace()
  private var reader = PacketReader()
  private var events: UInt32 = 0

  init(
    id: Int, _ expectation: Expectation, method: Method, saslSteps: Int,
    domains: SimulatedDomains, seed: UInt64
  ) {
    self.domains = domains
    nextCallback = Int32(seed % 3)
    self.id = id
    self.expectation = expectation
    self.method = method
    self.saslSteps = saslSteps
    marks = expectation.target.marks
    socket = ScriptedTransport(seed: seed)
  }

  var isGone: Bool { isDead || removedAfter != nil }

  private var ownCallAwaited: Bool {
    pending.contains { $0.serial >= SessionBackendModel.firstOwnSerial }
  }

  // MARK: Receiving

  /// Reads what the broker sent. Returns how many more packets it must answer.
  func read() -> Int {
    let before = pending.count
    reader.feed(socket.taken)
    socket.taken.removeAll(keepingCapacity: true)
    while problem == nil, let (header, packet) = reader.next() {
      trace.mix(header)
      if header.program == Program.keepAlive { continue }
      if header.kind == .stream {
        // What waits for its rate does not hold the close up.
        let isLate = stage == .closing && !expectation.isMetered
        problem = isLate ? "a stream behind CONNECT_CLOSE" : streamArrived(header, packet)
        continue
      }
      guard header.kind == .call else {
        problem = "it received a packet of type \(header.kind.rawValue)"
        break
      }
      let isOwn = header.serial >= SessionBackendModel.firstOwnSerial
      if stage == .closing {
        problem = "it received a call behind CONNECT_CLOSE"
      } else if isOwn {
        let body = Array(packet[Limits.header...])
        noteNumber(header, packet)
        checkOwn(header, body)
      } else {
        noteNumber(header, packet)
        checkClients(header, packet)
        clientCalls.append(header)
      }
      pending.append(header)
    }
    return pending.count - before
  }

  /// The event of a registration, the callback of its end, or the flags of a list.
  private func noteNumber(_ call: PacketHeader, _ packet: [UInt8]) {
    guard call.program == Program.remote else { return }
    switch call.procedure {
    case Registering.register, Registering.end:
      numbers[call.serial] = Stamp.word(packet, 0).map { Int32(bitPattern: $0) }
    case Registering.list where call.serial >= SessionBackendModel.firstOwnSerial:
      numbers[call.serial] = Stamp.word(packet, 1).map { Int32(bitPattern: $0) }
    default: break
    }
  }

  private func checkOwn(_ call: PacketHeader, _ body: [UInt8]) {
    if ownCallAwaited { problem = "the broker sent a call before the answer to its last one" }
    let isInOrder =
      switch call.procedure {
      case Remote.authList: stage == .start
      case Remote.authPolkit: stage == .mustLogIn && method == .polkit
      case Remote.authSASLInit:
        stage == .mustLogIn && method == .sasl && expectation.target.hasCredentials
      case Remote.authSASLStart: stage == .saslOffered
      case Remote.authSASLStep: stage == .saslStarted
      case Remote.connectOpen: stage == .mayOpen
      case Remote.connectSupportsFeature: stage == .opened && expectation.target.isRemote
      case Remote.connectSetIdentity: stage == .opened && !expectation.target.isRemote
      case Remote.connectClose: stage == .ready
      // Registrations of a client whose daemon was lost, and lists for those that it has.
      case Registering.register, Registering.list: stage == .ready && expectation.driver == nil
      default: false
      }
    guard isInOrder else {
      problem = "the broker called procedure \(call.procedure) in stage \(stage)"
      return
    }
    body.withUnsafeBytes { body in
      switch call.procedure {
      case Remote.connectOpen:
        let arguments = try? ConnectOpenArguments(payload: body)
        if arguments?.name != expectation.target.uri { problem = "opened with another URI" }
        if arguments?.flags != (expectation.isReadOnly ? 1 : 0) {
          problem = "opened with flags \(arguments?.flags ?? 99)"
        }
      case Remote.connectSupportsFeature:
        let feature = (try? FeatureArguments(payload: body))?.feature
        if marks.first != feature { problem = "asked for another mark" }
      case Remote.connectSetIdentity:
        let arguments = try? SetIdentityArguments(payload: body)
        identity = arguments?.parameters ?? []
        if arguments?.flags != 0 { problem = "SET_IDENTITY has flags" }
      case Remote.connectClose: stage = .closing
      default: break
      }
    }
  }

  private func checkClients(_ call: PacketHeader, _ packet: [UInt8]) {
    let known = ProcedureTable.find(program: call.program, procedure: call.procedure)
    if stage != .ready {
      problem = "a call of the client arrived in stage \(stage)"
    } else if call.procedure != Remote.connectSupportsFeature,
      Stamp.word(packet, Registering.isOne(call) ? 2 : 1) != expectation.tag
    {
      problem = "another client's call arrived"
    } else if call.version != Program.version {
      problem = "a call of an unknown version arrived"
    } else if call.program == Program.remote,
      SessionBackendModel.brokers.contains(call.procedure)
    {
      problem = "procedure \(call.procedure) of the client was passed on"
    } else if call.program == Program.remote, call.procedure == Remote.connectSupportsFeature,
      let feature = Stamp.word(packet, 0).map(Int32.init(bitPattern:)),
      expectation.ownFeatures.contains(feature)
    {
      problem = "the question for feature \(feature) was passed on"
    } else if let own = expectation.driver, known?.driver != own {
      problem = "a call of another driver arrived: procedure \(call.procedure)"
    }
  }

  /// The identity that arrived since the last time, for the simulation to check.
  func takeIdentity() -> [TypedParameter]? {
    defer { identity = nil }
    return identity
  }

  // MARK: Answering

  /// Answers one of the calls that wait. An error that a client receives is noted in `backendErrors`.
  func answer(_ random: inout Seed, isCalm: Bool, _ backendErrors: inout Set<UInt32>) {
    guard !isGone, !isHung, !pending.isEmpty else { return }
    let call = pending.remove(at: random.pick(0...pending.count - 1))
    if call.serial >= SessionBackendModel.firstOwnSerial {
      return answerOwn(call, &random, isCalm: isCalm)
    }
    if call.procedure > 450 || (!isCalm && random.once(in: 10)) {
      backendErrors.insert(call.serial)
      return refuse(call, RemoteError(.operationFailed, domain: .qemu, "simulated"))
    }
    var reply = call
    reply.kind = .reply
    if Registering.isOne(call) {
      return socket.supply(Stamp.packet(reply, register(call)))
    }
    let large = random.once(in: 25) ? 300 : 0
    socket.supply(
      Stamp.packet(
        reply,
        Stamp.bytes(
          call.serial, UInt32(id), expectation.tag, padding: 4 * (large + random.pick(0...20)))))
    if SessionBackendModel.opensStream(call) { streamOpened(call, &random) }
  }

  private func refuse(_ call: PacketHeader, _ error: RemoteError) {
    socket.supply(Packets.error(answering: call, error))
  }

  private func reply(_ call: PacketHeader, _ body: some XDRBody, _ next: Stage) {
    stage = next
    socket.supply(Packets.reply(answering: call, body))
  }

  private func reply(_ call: PacketHeader, _ next: Stage) {
    stage = next
    socket.supply(Packets.reply(answering: call))
  }

  private func answerOwn(_ call: PacketHeader, _ random: inout Seed, isCalm: Bool) {
    let failure = RemoteError(.operationFailed, domain: .qemu, "simulated")
    if !isCalm, call.procedure != Remote.connectSupportsFeature, random.once(in: 25) {
      // A refused list ends nothing.
      if call.procedure != Remote.connectClose, call.procedure != Registering.list {
        stage = .refused
      }
      return refuse(call, failure)
    }
    switch call.procedure {
    case Remote.authList: answerAuthList(call, &random)
    case Remote.authPolkit: reply(call, AuthPolkitResult(complete: 1), .mayOpen)
    case Remote.authSASLInit: reply(call, SASLInitResult(mechanisms: "SIMPLE"), .saslOffered)
    case Remote.authSASLStart, Remote.authSASLStep:
      saslStep += 1
      let isComplete = saslStep >= saslSteps
      let data = SASLData(random.once(in: 2) ? nil : [7])
      reply(
        call, SASLStepResult(isComplete: isComplete, data: data),
        isComplete ? .mayOpen : .saslStarted)
    case Remote.connectOpen:
      reply(call, .opened)
      readyIfUnmarked()
    case Remote.connectSupportsFeature:
      marks.removeFirst()
      answerMark(call, &random, isCalm: isCalm)
      readyIfUnmarked()
    case Remote.connectSetIdentity: answerIdentity(call, &random)
    case Registering.register: socket.supply(Packets.make(answer(call), arguments: register(call)))
    case Registering.list: socket.supply(Packets.make(answer(call), arguments: listing(call)))
    default: reply(call, .closing)
    }
  }

  private func answer(_ call: PacketHeader) -> PacketHeader {
    var answer = call
    answer.kind = .reply
    return answer
  }

  // MARK: Registrations

  /// The first word of the arguments of the registration calls that have arrived, by serial.
  private var numbers: [UInt32: Int32] = [:]

  private func listing(_ call: PacketHeader) -> [UInt8] {
    domains.list(flags: UInt32(bitPattern: numbers[call.serial] ?? 0))
  }

  /// Carries out a registration, or the end of one. The result.
  private func register(_ call: PacketHeader) -> [UInt8] {
    let number = numbers.removeValue(forKey: call.serial) ?? -1
    guard call.procedure == Registering.register else {
      if !callbacks.contains(where: { $0.id == number }) {
        problem = "callback \(number) is ended, which it does not have"
      }
      callbacks.removeAll { $0.id == number }
      return []
    }
    seenAt[call.serial] = domains.guests
    callbacks.append((nextCallback, number))
    nextCallback += 1
    return Stamp.bytes(UInt32(bitPattern: nextCallback - 1))
  }

  /// Something has happened to a guest: an event for each registration for it.
  func raise(_ happening: SimulatedDomains.Happening) {
    guard !isGone else { return }
    for callback in callbacks where callback.event == 0 {
      var writer = XDRWriter()
      writer.int32(callback.id)
      writer.append(SimulatedDomains.name(happening.guest))
      writer.int32(happening.id)
      writer.int32(happening.event)
      writer.int32(happening.detail)
      socket.supply(
        Packets.make(
          PacketHeader(procedure: 318, kind: .message, serial: 1), arguments: writer.bytes))
    }
  }

  private func answerAuthList(_ call: PacketHeader, _ random: inout Seed) {
    switch method {
    case .none: reply(call, AuthListResult(types: random.once(in: 4) ? [] : [0]), .mayOpen)
    case .polkit: reply(call, AuthListResult(types: [2]), .mustLogIn)
    case .sasl: reply(call, AuthListResult(types: [1]), .mustLogIn)
    case .refused:
      stage = .refused
      refuse(call, RemoteError(.accessDenied, domain: .access, "simulated"))
    case .old:
      stage = .mayOpen
      refuse(
        call,
        random.once(in: 2)
          ? RemoteError(.rpc, "unknown procedure: 66") : RemoteError(.noSupport, "AUTH_LIST"))
    }
  }

  /// Another host with no marks left to ask for is open.
  private func readyIfUnmarked() {
    if stage == .opened, expectation.target.isRemote, marks.isEmpty { stage = .ready }
  }

  private func answerMark(_ call: PacketHeader, _ random: inout Seed, isCalm: Bool) {
    if !isCalm, random.once(in: 8) {
      return reply(call, FeatureResult(supported: 1), .refused)
    }
    if random.once(in: 3) {
      return refuse(call, RemoteError(.rpc, "simulated"))
    }
    reply(call, FeatureResult(supported: 0), .opened)
  }

  private func answerIdentity(_ call: PacketHeader, _ random: inout Seed) {
    switch random.pick(0...4) {
    case 0:
      stage = .ready
      refuse(call, RemoteError(.rpc, "unknown procedure: 419"))
    case 1:
      stage = .ready
      refuse(call, RemoteError(.noSupport, "virConnectSetIdentity"))
    default: reply(call, .ready)
    }
  }

  // MARK: What it does by itself

  /// False: it is not open.
  func raiseEvent() -> Bool {
    guard !isGone, !isHung, stage == .opened || stage == .ready else { return false }
    events += 1
    socket.supply(
      Stamp.packet(
        PacketHeader(procedure: Registering.plainEvent, kind: .message, serial: 1),
        Stamp.bytes(UInt32(id), events, expectation.tag)))
    return true
  }

  func ping() {
    guard !isGone, !isHung else { return }
    socket.supply(Packets.keepAlive(KeepAliveProcedure.ping))
  }

  /// Ends the connection; of what it had sent, some may be lost.
  func die(_ random: inout Seed) {
    guard !isDead else { return }
    isDead = true
    if random.once(in: 2) { socket.loseTail(random.pick(0...300)) }
    socket.isClosed = true
  }
}
