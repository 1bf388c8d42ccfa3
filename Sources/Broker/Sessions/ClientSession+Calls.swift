// The calls the broker answers itself.
import Streams

extension ClientSession {
  /// Features of this hop, whatever the backend can do.
  private enum Feature {
    static let descriptorPassing: Int32 = 8
    static let keepAlive: Int32 = 10
    static let eventCallback: Int32 = 14
    static let closeCallback: Int32 = 15
  }

  func answers(_ call: PacketHeader, body: [UInt8]) -> Bool {
    switch call.program {
    case Program.remote, Program.qemu, Program.lxc: break
    default: return refuseProgram(call)
    }
    guard call.version == Program.version else { return refuseProgram(call) }
    if let refusal = login.refusal { return refuseForGood(call, refusal) }
    guard call.program == Program.remote else { return refuseUnlessOpen(call) }
    if call.status != .ok {
      return refuse(call, RemoteError(.rpc, "Unexpected message status \(call.status.rawValue)"))
    }
    if (Remote.authList...Remote.authPolkit).contains(call.procedure) {
      return authenticate(call, body)
    }
    guard login.isDone else { return refuseUnlessOpen(call) }
    switch call.procedure {
    case Remote.connectOpen: return open(call, body)
    case Remote.connectClose:
      close(serial: call.serial)
      return true
    case Remote.connectSupportsFeature: return feature(call, body)
    case Remote.connectSetIdentity: return setIdentity(call, body)
    default: return refuseUnlessOpen(call)
    }
  }

  // MARK: Refusals

  func refuse(_ call: PacketHeader, _ error: RemoteError) -> Bool {
    relay.reply(Packets.error(answering: call, error))
    return true
  }

  private func refuseProgram(_ call: PacketHeader) -> Bool {
    refuse(
      call,
      RemoteError(
        .rpc,
        "Cannot find program \(Int32(bitPattern: call.program)) version "
          + "\(Int32(bitPattern: call.version))"))
  }

  /// Calls that are for the backend need one. An unknown procedure is told so first.
  private func refuseUnlessOpen(_ call: PacketHeader) -> Bool {
    guard phase != .open else { return false }
    let known = ProcedureTable.find(program: call.program, procedure: call.procedure)
    guard let known, !known.isEvent else {
      return refuse(call, RemoteError(.rpc, "unknown procedure: \(call.procedure)"))
    }
    guard login.isDone else { return refuse(call, RemoteError(.rpc, "authentication required")) }
    // libvirt's servers have these two words for it.
    let isHypervisors = known.driver == .hypervisor || known.driver == .proxy
    return refuse(
      call,
      RemoteError(.internalError, "\(isHypervisors ? "hypervisor " : "")connection not open"))
  }

  func refuseBody(_ call: PacketHeader) -> Bool {
    refuse(call, RemoteError(.rpc, "Unable to decode message payload"))
  }

  // MARK: Calls

  private func feature(_ call: PacketHeader, _ body: [UInt8]) -> Bool {
    guard let arguments = body.withUnsafeBytes({ try? FeatureArguments(payload: $0) }) else {
      return refuseBody(call)
    }
    switch arguments.feature {
    case Feature.keepAlive: startKeepAlive()
    case Feature.descriptorPassing where phase == .open && main?.remote != nil:
      let carries = upstreams.contains { $0.backend == main && $0.carriesDescriptors }
      relay.reply(Packets.reply(answering: call, FeatureResult(supported: carries ? 1 : 0)))
      return true
    // Another broker, or this one, asks whether it has come back to where it was.
    case broker.forwarding.mark: break
    case Feature.descriptorPassing, Feature.eventCallback, Feature.closeCallback:
      guard phase == .open else { return refuseUnlessOpen(call) }
    default: return refuseUnlessOpen(call)
    }
    relay.reply(Packets.reply(answering: call, FeatureResult(supported: 1)))
    return true
  }

  /// The identity a backend hears is the one this hop verified: a client's own never goes on.
  private func setIdentity(_ call: PacketHeader, _ body: [UInt8]) -> Bool {
    guard let arguments = body.withUnsafeBytes({ try? SetIdentityArguments(payload: $0) }) else {
      return refuseBody(call)
    }
    guard phase == .open else { return refuseUnlessOpen(call) }
    for parameter in arguments.parameters {
      guard let expected = IdentityField.types[parameter.field] else {
        return refuse(
          call,
          RemoteError(
            .argumentUnsupported, domain: .none, "parameter '\(parameter.field)' not supported"))
      }
      guard parameter.value.typeName == expected else {
        return refuse(
          call,
          RemoteError(
            .invalidArgument, domain: .none,
            "invalid type '\(parameter.value.typeName)' for parameter '\(parameter.field)', "
              + "expected '\(expected)'"))
      }
    }
    relay.reply(Packets.reply(answering: call))
    return true
  }

  private func open(_ call: PacketHeader, _ body: [UInt8]) -> Bool {
    guard let arguments = body.withUnsafeBytes({ try? ConnectOpenArguments(payload: $0) }) else {
      return refuseBody(call)
    }
    guard phase == .connected else {
      return refuse(call, RemoteError(.internalError, "connection already open"))
    }
    isReadOnly = isReadOnlyListener || arguments.isReadOnly
    let found = broker.forwarding.backend(for: arguments.name, readOnly: isReadOnly).flatMap {
      $0.map { .success($0) }
        ?? broker.directory.backend(for: arguments.name, readOnly: isReadOnly)
    }
    switch found.flatMap({ backend in connect(backend).map { _ in backend } }) {
    case .success(let backend):
      main = backend
      phase = .opening(call.serial)
      relay.isHeld = true
      return true
    case .failure(let error):
      log[.upstream].warning(
        "\(name): cannot open '\(ConnectURI.shown(arguments.name ?? ""))': "
          + "\(error.message ?? "no reason given")")
      return refuse(call, error)
    }
  }
}

/// The parameters CONNECT_SET_IDENTITY knows, with libvirt's names of their types.
private enum IdentityField {
  static let types: [String: String] = [
    "user-name": "string", "unix-user-id": "ullong", "group-name": "string",
    "unix-group-id": "ullong", "process-id": "llong", "process-time": "ullong",
    "sasl-user-name": "string", "x509-distinguished-name": "string", "selinux-context": "string",
    "system.token": "string",
  ]
}

extension TypedParameter.Value {
  /// What libvirt calls the type in its messages.
  var typeName: String {
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
