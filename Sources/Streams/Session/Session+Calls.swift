// The calls that the broker answers itself.

extension Session {
  /// Features of this hop, independent of the backend.
  private enum Feature {
    static let descriptorPassing: Int32 = 8
    static let keepAlive: Int32 = 10
    static let eventCallback: Int32 = 14
    static let closeCallback: Int32 = 15
  }

  /// Whether the session answers a call. Otherwise the relay forwards it.
  public func takes(_ call: PacketHeader, body: [UInt8]) -> Bool {
    guard case .open = state, Session.isKnown(call) else { return true }
    guard call.program == Program.remote else { return false }
    switch call.procedure {
    case Remote.connectOpen, Remote.connectClose, Remote.connectSetIdentity,
      Remote.authList...Remote.authPolkit:
      return true
    case Remote.connectSupportsFeature:
      guard call.status == .ok, let feature = Session.feature(in: body) else { return true }
      return feature == client.mark || feature == Feature.keepAlive
        || feature == Feature.descriptorPassing || feature == Feature.eventCallback
        || feature == Feature.closeCallback
    default: return false
    }
  }

  private static func isKnown(_ call: PacketHeader) -> Bool {
    switch call.program {
    case Program.remote, Program.qemu, Program.lxc: call.version == Program.version
    default: false
    }
  }

  private static func feature(in body: [UInt8]) -> Int32? {
    body.withUnsafeBytes { try? FeatureArguments(payload: $0) }?.feature
  }

  /// Answers a call, now or on a later event.
  mutating func answer(_ call: PacketHeader, _ body: [UInt8]) {
    switch state {
    case .turnedAway(let error, _):
      guard Session.isKnown(call) else { return refuseProgram(call) }
      refuse(call, error)
      return leave()
    // The connection ends, so the call stays unanswered. An opening session is held, so no call arrives.
    case .opening, .closing, .leaving, .lost, .over: return
    case .loggingIn, .connected, .open: break
    }
    guard Session.isKnown(call) else { return refuseProgram(call) }
    guard call.program == Program.remote else { return refuseUnopened(call) }
    guard call.status == .ok else {
      return refuse(call, RemoteError(.rpc, .unexpectedStatus, [call.status.rawValue]))
    }
    if (Remote.authList...Remote.authPolkit).contains(call.procedure) {
      return authenticate(call, body)
    }
    guard isLoggedIn else { return refuseUnopened(call) }
    switch call.procedure {
    case Remote.connectOpen: open(call, body)
    case Remote.connectClose: close(call)
    case Remote.connectSupportsFeature: answerFeature(call, body)
    case Remote.connectSetIdentity: checkIdentity(call, body)
    default: refuseUnopened(call)
    }
  }

  // MARK: Refusals

  private mutating func refuseProgram(_ call: PacketHeader) {
    refuse(
      call,
      RemoteError(
        .rpc, .unknownProgram,
        [Int32(bitPattern: call.program), Int32(bitPattern: call.version)]))
  }

  /// Refuses a call for the backend, because no backend is open. An unknown procedure is reported first.
  private mutating func refuseUnopened(_ call: PacketHeader) {
    let known = ProcedureTable.find(program: call.program, procedure: call.procedure)
    guard let known, !known.isEvent else {
      return refuse(call, RemoteError(.rpc, .unknownProcedure, [call.procedure]))
    }
    guard isLoggedIn else { return refuse(call, RemoteError(.rpc, .authenticationRequired)) }
    // libvirt's servers send these two texts.
    let isHypervisors = known.driver == .hypervisor || known.driver == .proxy
    refuse(
      call,
      RemoteError(.internalError, isHypervisors ? .hypervisorNotOpen : .connectionNotOpen))
  }

  mutating func refuseBody(_ call: PacketHeader) {
    refuse(call, RemoteError(.rpc, .undecodableCall))
  }

  // MARK: Calls

  private mutating func answerFeature(_ call: PacketHeader, _ body: [UInt8]) {
    guard let feature = Session.feature(in: body) else { return refuseBody(call) }
    var isOpen = false
    if case .open = state { isOpen = true }
    var supported: Int32 = 1
    switch feature {
    case Feature.keepAlive: keepAlive.start(settings.keepAlive, at: now)
    // Another broker, or this one, checks for a loop.
    case client.mark: break
    case Feature.descriptorPassing where isOpen:
      if let main, main.target?.isRemote == true, !main.carriesDescriptors { supported = 0 }
    case Feature.eventCallback where isOpen, Feature.closeCallback where isOpen: break
    default: return refuseUnopened(call)
    }
    reply(call, FeatureResult(supported: supported))
  }

  /// Checks the identity that a client claims, and does not forward it. The backend receives the identity that this hop
  /// has verified.
  private mutating func checkIdentity(_ call: PacketHeader, _ body: [UInt8]) {
    guard let arguments = body.withUnsafeBytes({ try? SetIdentityArguments(payload: $0) }) else {
      return refuseBody(call)
    }
    guard case .open = state else { return refuseUnopened(call) }
    for parameter in arguments.parameters {
      guard let expected = Session.identityTypes[parameter.field] else {
        return refuse(
          call,
          RemoteError(
            .argumentUnsupported, domain: .none, .parameterNotSupported, [parameter.field]))
      }
      guard parameter.value.typeName == expected else {
        return refuse(
          call,
          RemoteError(
            .invalidArgument, domain: .none, .parameterTypeInvalid,
            [parameter.value.typeName, parameter.field, expected]))
      }
    }
    reply(call)
  }

  private mutating func open(_ call: PacketHeader, _ body: [UInt8]) {
    guard let arguments = body.withUnsafeBytes({ try? ConnectOpenArguments(payload: $0) }) else {
      return refuseBody(call)
    }
    guard case .connected = state else {
      return refuse(call, RemoteError(.internalError, .connectionAlreadyOpen))
    }
    isReadOnly = client.isReadOnly || arguments.isReadOnly
    let id = addUpstream(for: nil)
    state = .opening(serial: call.serial, main: id)
    add(.connect(upstream: id, uri: arguments.name, isReadOnly: isReadOnly))
  }

  private mutating func close(_ call: PacketHeader) {
    state = .closing(serial: call.serial, until: now + Session.closeSeconds)
    closeNext()
  }

  /// The parameters of CONNECT_SET_IDENTITY, with libvirt's names of their types.
  private static let identityTypes: [String: String] = [
    "user-name": "string", "unix-user-id": "ullong", "group-name": "string",
    "unix-group-id": "ullong", "process-id": "llong", "process-time": "ullong",
    "sasl-user-name": "string", "x509-distinguished-name": "string", "selinux-context": "string",
    "system.token": "string",
  ]
}

extension TypedParameter.Value {
  /// libvirt's name of the type in its messages.
  public var typeName: String {
    switch self {
    case .int: "int"
    case .uint: "uint"
    case .llong: "llong"
    case .ullong: "ullong"
    case .double: "double"
    case .boolean: "boolean"
    case .string: "string"
    }
  }
}
