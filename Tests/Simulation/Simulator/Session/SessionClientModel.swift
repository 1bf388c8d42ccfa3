// The client of a simulated session: what it sends, and how it judges each answer.
@testable import Streams

/// A libvirt client, well-behaved or not. It follows its own login from the answers it receives: the broker answers its
/// own calls in order, so each answer can be judged by those before it.
final class SessionClientModel {
  /// A call, as far as its answer depends on it.
  enum Form: Equatable {
    case authList, saslInit, saslStart, saslStep, polkit, close, identity
    case open(isReadOnly: Bool)
    /// A feature of the connection to the broker, which the broker answers itself.
    case feature(Int32)
    /// Passed on to a backend once the connection is open.
    case ordinary
    /// The same, and it opens a stream.
    case stream
    /// Refused in every state: an unknown program, arguments that cannot be decoded.
    case hopeless
  }

  /// How the client behaves throughout its run.
  struct Habits {
    /// Sends the next call without waiting for the answer to the last one.
    var pipelines = false
    /// One call in so many is drawn regardless of what would make sense; 0: none.
    var wildness = 0
    var answersPings = true
    /// Asks the broker for keepalive.
    var wantsKeepAlive = true
    var wantsReadOnly = false
    var closesWhenDone = true
    /// Follows the life cycles of guests, and has nothing else at its daemon that ends with the connection.
    var follows = false
  }

  /// What happened elsewhere in the simulation and excuses a failed call.
  struct Excuses {
    /// The session was told that this client is one too many.
    var isTurnedAway = false
    /// SASL steps that the service refused and whose failed reply has not come yet.
    var saslRefusals = 0
    var polkitRefusals = 0
    /// CONNECT_OPEN calls whose upstream could not be opened.
    var refusedOpens: Set<UInt32> = []
    /// Calls that a backend answered with an error.
    var backendErrors: Set<UInt32> = []
    /// Streams that a backend ended with an error.
    var streamErrors: Set<UInt32> = []
    var isUpstreamRemoved = false
    /// How often a daemon was lost that came back, or was waited for.
    var losses = 0
    /// The session has been open.
    var hasOpened = false
  }

  enum SASLPhase { case awaited, offered, started }

  let socket: ScriptedTransport
  /// What the payload of its packets says.
  var tag: UInt32
  let client: SessionClient
  let habits: Habits
  var excuses = Excuses()
  /// The answer to the feature of passing descriptors.
  var passesDescriptors: Int32 = 1
  private(set) var awaited: [UInt32: (header: PacketHeader, form: Form)] = [:]
  /// The losses of daemons before each call that it awaits.
  private var lossesBefore: [UInt32: Int] = [:]
  /// It has sent a call whose result depends on the connection to the daemon.
  private(set) var hasSentBinding = false
  /// Such results that it has, and that would be lost with the connection.
  private(set) var bindings = 0
  /// Registrations that it has asked for, by the call's serial, and those that it ends.
  var registering: [UInt32: Int32] = [:]
  var ending: [UInt32: Int32] = [:]
  /// The registrations that it has: the number of the event, and what is known of the guests.
  struct Callback {
    let event: Int32
    var guests: [UInt8: SimulatedDomains.Guest]
  }
  private(set) var callbacks: [Int32: Callback] = [:]
  /// The guests that the daemon had when it carried out a call.
  var guestsAt: (UInt32) -> [UInt8: SimulatedDomains.Guest]? = { _ in nil }
  /// It was kept with `always`: it may have missed events.
  var mayMissEvents = false
  /// Callbacks whose end has failed: events may still come.
  private(set) var unsure: Set<Int32> = []
  /// Some of its registrations are for events that say nothing about a state.
  var expectsStateless: Bool { callbacks.values.contains { $0.event != 0 } }
  private(set) var isLoggedIn: Bool
  private(set) var isOpened = false
  private(set) var phase = SASLPhase.awaited
  private(set) var saslFailures = 0
  private(set) var hasListed = false
  private(set) var hasAskedKeepAlive = false
  private(set) var isKeepAliveGranted = false
  private(set) var hasSentClose = false
  /// Calls it still wants to make.
  var budget = 0
  private(set) var registeredForClose = false
  var hasUnregistered = false
  private(set) var closedEvents = 0
  private(set) var events = 0
  /// The last event of each of its upstreams.
  private var lastEvents: [UInt32: UInt32] = [:]
  var streams: [Stream] = []
  /// Streams that ended in good order since the world looked.
  var confirmed: [Stream] = []
  /// PINGs of the broker that have not been answered yet.
  private(set) var openPings = 0
  private(set) var pingsReceived = 0
  /// Its own PINGs, and their answers.
  private var pingsSent = 0
  private var pongs = 0
  private(set) var problem: String?
  var isDead = false
  /// It sends nothing any more, but is still connected.
  var isSilent = false
  private var nextSerial: UInt32 = 1
  private var reader = PacketReader()
  private(set) var trace = Trace()

  init(seed: UInt64, tag: UInt32, client: SessionClient, habits: Habits) {
    self.tag = tag
    socket = ScriptedTransport(seed: seed)
    self.client = client
    self.habits = habits
    isLoggedIn = client.authentication == .none
  }

  /// The broker is to answer AUTH_LIST with this type.
  private var listedMethod: Int32 {
    switch client.authentication {
    case .none: AuthListResult.none
    case .sasl: AuthListResult.sasl
    case .polkit: client.identity.peer?.uid == 0 ? AuthListResult.none : AuthListResult.polkit
    }
  }

  // MARK: Sending

  var isWaiting: Bool { !awaited.isEmpty }

  /// Sends the next call. In the calm phase it only does what makes sense.
  func act(_ random: inout Seed, isCalm: Bool) {
    guard !isDead, !isSilent, !hasSentClose else { return }
    let mayPipeline = habits.pipelines && !isCalm && (isOpened || random.once(in: 4))
    guard mayPipeline || awaited.isEmpty else { return }
    if !isCalm, habits.wildness > 0, random.once(in: habits.wildness) {
      send(wildForm(&random), &random)
    } else if let form = nextForm(&random) {
      send(form, &random)
    }
  }

  /// The call that a client of libvirt makes next; nil: it has done what it wanted.
  private func nextForm(_ random: inout Seed) -> Form? {
    guard isLoggedIn else {
      guard hasListed else { return .authList }
      switch client.authentication {
      case .none: return nil
      case .polkit: return .polkit
      case .sasl:
        switch phase {
        case .awaited: return .saslInit
        case .offered: return .saslStart
        case .started: return .saslStep
        }
      }
    }
    if habits.wantsKeepAlive, !hasAskedKeepAlive { return .feature(10) }
    guard isOpened else { return .open(isReadOnly: habits.wantsReadOnly) }
    guard budget > 0 else { return habits.closesWhenDone ? .close : nil }
    budget -= 1
    if random.once(in: 5) { return .stream }
    return random.once(in: 8) ? .identity : random.once(in: 8) ? .feature(14) : .ordinary
  }

  private func wildForm(_ random: inout Seed) -> Form {
    switch random.pick(0...17) {
    case 0: .authList
    case 1: .saslInit
    case 2: .saslStart
    case 3: .saslStep
    case 4: .polkit
    case 5: random.once(in: 4) ? .close : .authList
    case 6, 7: .identity
    case 8, 9: .open(isReadOnly: random.once(in: 3))
    case 10: .feature(8)
    case 11: .feature(14)
    case 12: .feature(15)
    case 13: .feature(client.mark)
    case 14: .feature(10)
    case 15: .hopeless
    case 16 where isOpened: .stream
    default: .ordinary
    }
  }

  func send(_ form: Form, _ random: inout Seed) {
    let serial = nextSerial
    nextSerial += 1
    var header = PacketHeader(procedure: 0, kind: .call, serial: serial)
    var body: [UInt8] = []
    switch form {
    case .authList: header.procedure = Remote.authList
    case .saslInit: header.procedure = Remote.authSASLInit
    case .saslStart:
      header.procedure = Remote.authSASLStart
      body = SASLStartArguments(mechanism: "SIMPLE", data: SASLData([1, 2])).encoded
    case .saslStep:
      header.procedure = Remote.authSASLStep
      body = SASLData(random.once(in: 3) ? nil : [3]).encoded
    case .polkit: header.procedure = Remote.authPolkit
    case .close:
      header.procedure = Remote.connectClose
      hasSentClose = true
    case .identity:
      header.procedure = Remote.connectSetIdentity
      body = SetIdentityArguments(parameters: SessionClientModel.claim).encoded
    case .open(let isReadOnly):
      header.procedure = Remote.connectOpen
      // Flags of the client's own must not reach the backend.
      let flags: UInt32 = (isReadOnly ? 1 : 0) | (random.once(in: 3) ? 6 : 0)
      body = ConnectOpenArguments(name: SessionClientModel.uri(serial), flags: flags).encoded
    case .feature(let feature):
      if feature == 10 { hasAskedKeepAlive = true }
      header.procedure = Remote.connectSupportsFeature
      body = FeatureArguments(feature: feature).encoded
    case .ordinary: (header, body) = ordinaryCall(serial, &random)
    case .stream: (header, body) = opening(serial, &random)
    case .hopeless: (header, body) = hopelessCall(serial, &random)
    }
    awaited[serial] = (header, form)
    lossesBefore[serial] = excuses.losses
    if CallEffect.of(header.program, header.procedure).dependsOnConnection { hasSentBinding = true }
    socket.supply(Stamp.packet(header, body))
  }

  /// A daemon was lost, and the session keeps its client.
  func lost() {
    excuses.losses += 1
    excuses.isUpstreamRemoved = true
  }

  /// The calls that it awaits were not kept, so they cannot be sent again.
  func mayLoseAwaited() {
    for serial in lossesBefore.keys { lossesBefore[serial] = -2 }
  }

  /// From now on a failed call has no excuse from before.
  func forgetExcuses() {
    excuses = Excuses(
      isTurnedAway: excuses.isTurnedAway, losses: excuses.losses, hasOpened: excuses.hasOpened)
  }

  func ping() {
    pingsSent += 1
    socket.supply(Packets.keepAlive(KeepAliveProcedure.ping))
  }

  /// Answers the PINGs that have come in.
  func pong() {
    guard !isDead, !isSilent else { return }
    while openPings > 0 {
      openPings -= 1
      socket.supply(Packets.keepAlive(KeepAliveProcedure.pong))
    }
  }

  func vanish() {
    isDead = true
    socket.isClosed = true
  }

  // MARK: Receiving

  func read() {
    reader.feed(socket.taken)
    socket.taken.removeAll(keepingCapacity: true)
    while problem == nil, let (header, packet) = reader.next() {
      trace.mix(header)
      switch header.kind {
      case .message: message(header, packet)
      case .reply: reply(header, packet)
      case .stream: problem = streamArrived(header, packet)
      default: problem = "the client received a packet of type \(header.kind.rawValue)"
      }
    }
  }

  private func message(_ header: PacketHeader, _ packet: [UInt8]) {
    if header.program == Program.keepAlive {
      guard header.procedure == KeepAliveProcedure.ping else {
        pongs += 1
        if pongs > pingsSent { problem = "a PONG to no PING" }
        return
      }
      if !hasAskedKeepAlive { problem = "a PING that was not asked for" }
      openPings += 1
      pingsReceived += 1
    } else if !excuses.hasOpened {
      problem = "an event before the connection was open"
    } else if header.procedure == Remote.connectEventConnectionClosed {
      closedEvents += 1
    } else if header.procedure == Registering.plainEvent {
      events += 1
      event(packet)
    } else {
      lifeCycle(packet)
    }
  }

  /// An event of a guest. It must follow from what the client knows.
  private func lifeCycle(_ packet: [UInt8]) {
    let id = Stamp.word(packet, 0).map { Int32(bitPattern: $0) } ?? -1
    let isEnding = ending.values.contains(id)
    guard var callback = callbacks[id] else {
      if !isEnding, registering.isEmpty { problem = "an event for callback \(id)" }
      return
    }
    let body = packet[(Limits.header + 4)...]
    guard body.count == 40, let guest = body.dropFirst(12).first else {
      problem = "an event of \(body.count) bytes"
      return
    }
    let words = [8, 9, 10].map { Stamp.word(packet, $0).map { Int32(bitPattern: $0) } ?? -1 }
    let happening = SimulatedDomains.Happening(
      guest: guest, event: words[1], detail: words[2], id: words[0])
    if let wrong = SimulatedDomains.apply(happening, to: &callback.guests), !mayMissEvents {
      problem = wrong
    }
    callbacks[id] = callback
  }

  /// Each daemon counts the events that it raises.
  private func event(_ packet: [UInt8]) {
    let upstream = Stamp.word(packet, 0) ?? 0
    let number = Stamp.word(packet, 1) ?? 0
    if Stamp.word(packet, 2) != tag { problem = "it received another client's event" }
    if let last = lastEvents[upstream], number != last + 1 {
      problem = "event \(number) of upstream \(upstream) behind \(last)"
    }
    lastEvents[upstream] = number
  }

  private func reply(_ header: PacketHeader, _ packet: [UInt8]) {
    guard let (call, form) = awaited.removeValue(forKey: header.serial) else {
      problem = "a reply to call \(header.serial), which awaits none"
      return
    }
    guard header.program == call.program, header.version == call.version,
      header.procedure == call.procedure
    else {
      problem = "call \(header.serial) was answered as procedure \(header.procedure)"
      return
    }
    let wrong: String? = packet.withUnsafeBytes { bytes in
      let body = UnsafeRawBufferPointer(rebasing: bytes[Limits.header...])
      switch header.status {
      case .ok: return judgeResult(form, call, body, packet)
      case .error:
        guard let error = try? RemoteError(payload: body) else { return "cannot be read" }
        let wrong = judgeError(form, call, error)
        return excuses.isTurnedAway ? nil : wrong
      default: return "has status \(header.status.rawValue)"
      }
    }
    if let wrong { problem = "the reply to \(form), serial \(header.serial): \(wrong)" }
  }

  /// What is wrong with a good reply.
  private func judgeResult(
    _ form: Form, _ call: PacketHeader, _ body: UnsafeRawBufferPointer, _ packet: [UInt8]
  ) -> String? {
    let isUnauthenticated = !isLoggedIn
    switch form {
    case .authList:
      guard (try? AuthListResult(payload: body))?.types == [listedMethod] else {
        return "not the listener's method"
      }
      hasListed = true
      if listedMethod == AuthListResult.none { isLoggedIn = true }
      return nil
    case .saslInit:
      guard client.authentication == .sasl, isUnauthenticated, phase == .awaited else {
        return "SASL began out of order"
      }
      phase = .offered
      return (try? SASLInitResult(payload: body))?.mechanisms == "SIMPLE" ? nil : "no mechanism"
    case .saslStart, .saslStep:
      guard client.authentication == .sasl, isUnauthenticated,
        phase == (form == .saslStart ? .offered : .started)
      else { return "a SASL step was accepted out of order" }
      guard let result = try? SASLStepResult(payload: body) else { return "cannot be decoded" }
      phase = .started
      if result.isComplete { isLoggedIn = true }
      return nil
    case .polkit:
      guard client.authentication == .polkit, isUnauthenticated else { return "out of order" }
      isLoggedIn = true
      return (try? AuthPolkitResult(payload: body))?.complete == 1 ? nil : "not complete"
    case .hopeless: return "it was not refused"
    default: break
    }
    // The broker's own replies may leave behind those of a daemon, so the last step of a login, too.
    let isPassedOn = form == .ordinary || form == .stream
    guard isLoggedIn || (isPassedOn && excuses.hasOpened) else {
      return "served before authentication"
    }
    switch form {
    case .open:
      guard !isOpened else { return "opened twice" }
      isOpened = true
      return body.isEmpty ? nil : "has a body"
    case .close: return nil
    case .identity: return isOpened ? nil : "accepted before the connection was open"
    case .feature(let feature):
      let wanted: Int32 = feature == 8 ? passesDescriptors : 1
      if feature == 10 { isKeepAliveGranted = true }
      if feature != 10, feature != client.mark, !isOpened { return "answered before CONNECT_OPEN" }
      return (try? FeatureResult(payload: body))?.supported == wanted ? nil : "not \(wanted)"
    default:
      guard excuses.hasOpened else { return "served before CONNECT_OPEN" }
      if call.procedure == Remote.connectRegisterCloseCallback { registeredForClose = true }
      noteBinding(call)
      if Registering.isOne(call) { return registered(call, packet) }
      if form == .stream { streamOpened(call.serial, true) }
      guard Stamp.word(packet, 2) == tag else { return "it has another client's body" }
      return Stamp.word(packet, 0) == call.serial ? nil : "it has another call's body"
    }
  }

  private func registered(_ call: PacketHeader, _ packet: [UInt8]) -> String? {
    if let callback = ending.removeValue(forKey: call.serial) {
      callbacks[callback] = nil
      return nil
    }
    guard let event = registering.removeValue(forKey: call.serial),
      let id = Stamp.word(packet, 0).map({ Int32(bitPattern: $0) })
    else { return "it has no callback" }
    // The broker's own answers may leave behind a daemon's.
    if callbacks[id] != nil, !ending.values.contains(id) { return "callback \(id) a second time" }
    guard let guests = guestsAt(call.serial) else { return "no daemon has carried it out" }
    callbacks[id] = Callback(event: event, guests: guests)
    return nil
  }

  /// A result that depends on the connection to the daemon: it must not be lost silently.
  private func noteBinding(_ call: PacketHeader) {
    switch CallEffect.of(call.program, call.procedure) {
    case .addsCloseCallback, .beginsMigration: bindings += 1
    case .removesCloseCallback, .endsMigration: bindings = 0
    default: break
    }
  }

  /// What is wrong with the failure of a call that only reads: it must be sent again when its daemon is lost, once.
  private func judgeReading(_ call: PacketHeader, _ error: RemoteError) -> String? {
    let isUnknown = error.message?.contains("outcome unknown") ?? false
    guard isUnknown, CallEffect.of(call.program, call.procedure) == .readsOnly else { return nil }
    let losses = excuses.losses - (lossesBefore[call.serial] ?? 0)
    return losses < 2 ? "it was not sent again" : nil
  }

  /// What is wrong with a failed reply.
  private func judgeError(_ form: Form, _ call: PacketHeader, _ error: RemoteError) -> String? {
    switch form {
    case .authList: return "AUTH_LIST is never refused"
    case .saslInit, .saslStart, .saslStep: return judgeSASLError(form)
    case .polkit:
      let peer = client.identity.peer
      guard client.authentication == .polkit, !isLoggedIn, peer?.startTime != nil else {
        return nil
      }
      excuses.polkitRefusals -= 1
      return excuses.polkitRefusals >= 0 ? nil : "polkit did not refuse it"
    case .hopeless: return nil
    case .stream: streamOpened(call.serial, false)
    case .ordinary where Registering.isOne(call):
      registering[call.serial] = nil
      // It is over for the library all the same.
      if let callback = ending.removeValue(forKey: call.serial) { unsure.insert(callback) }
    default: break
    }
    let isPassedOn = form == .ordinary || form == .stream
    guard isLoggedIn || (isPassedOn && excuses.hasOpened) else {
      return error.code == .rpc ? nil : "not 'authentication required'"
    }
    switch form {
    case .open:
      return isOpened || excuses.refusedOpens.contains(call.serial)
        ? nil : "no upstream of it has failed"
    case .close: return "CONNECT_CLOSE is never refused"
    case .feature(let feature):
      return isOpened || feature == 10 || feature == client.mark ? "refused" : nil
    case .identity: return isOpened ? "refused" : nil
    default:
      if let wrong = judgeReading(call, error) { return wrong }
      return !isOpened || excuses.isUpstreamRemoved || excuses.backendErrors.contains(call.serial)
        ? nil : "no backend refused it: \(error.message ?? "")"
    }
  }

  private func judgeSASLError(_ form: Form) -> String? {
    guard client.authentication == .sasl else { return nil }
    saslFailures += 1
    if saslFailures > 8 { return "a SASL failure behind the eighth" }
    guard !isLoggedIn else { return nil }
    let isInOrder =
      form == .saslInit ? phase == .awaited : phase == (form == .saslStart ? .offered : .started)
    phase = .awaited
    guard isInOrder else { return nil }
    excuses.saslRefusals -= 1
    return excuses.saslRefusals >= 0 ? nil : "the service did not refuse it"
  }
}
