// One registration of a client for events.

/// A registration that its daemon has confirmed.
public struct Registration: Equatable, Sendable {
  let family: EventFamily
  let program: UInt32
  /// The call that made it, and its arguments.
  public let procedure: Int32
  let arguments: [UInt8]
  /// The number of the event within the family; -1: another one than a life cycle.
  let event: Int32
  /// The object that it is limited to; nil: all objects.
  let object: ObjectKey?
  /// The callback ID that the client knows, and the daemon's. Legacy registrations have none.
  var clientID: Int32 = -1
  var daemonID: Int32 = -1

  /// The client has made both by the same call.
  func isSame(as other: Registration) -> Bool {
    family == other.family && procedure == other.procedure && clientID == other.clientID
      && event == other.event
  }

  /// The kind of objects whose life cycle it reports; nil: it reports something else.
  var objects: ObjectKind? { event == 0 ? family.objects : nil }

  /// What a reader begins with: CONNECT_DOMAIN_EVENT_REGISTER.
  static let plain: Registration = {
    guard
      let plain = Registration(PacketHeader(procedure: 105, kind: .call, serial: 0), arguments: [])
    else { preconditionFailure("it has no arguments") }
    return plain
  }()

  /// Writes or reads the call with the IDs.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    var header = PacketHeader(program: program, procedure: procedure, kind: .call, serial: 0)
    var arguments = arguments
    var ids = (client: clientID, daemon: daemonID)
    try coder.code(&header.program)
    try coder.code(&header.procedure)
    try coder.code(&arguments)
    try coder.code(&ids.client)
    try coder.code(&ids.daemon)
    guard coder.isReading else { return }
    guard var registration = Registration(header, arguments: arguments) else {
      throw Violation(.snapshotValueInvalid, [header.procedure, "a registration"])
    }
    (registration.clientID, registration.daemonID) = ids
    self = registration
  }

  /// A registration by this call. Nil: it cannot be decoded, or is no registration.
  init?(_ call: PacketHeader, arguments: [UInt8]) {
    guard let family = EventFamily.registered(by: call.program, call.procedure) else { return nil }
    self.family = family
    program = call.program
    procedure = call.procedure
    self.arguments = arguments
    guard family != .monitor, call.procedure != 105 else {
      event = family == .monitor ? -1 : 0
      object = nil
      return
    }
    let decoded: (Int32, ObjectKey?)? = arguments.withUnsafeBytes { bytes in
      var reader = XDRReader(bytes)
      do throws(Violation) {
        let event = try reader.int32()
        guard family != .legacy, let objects = family.objects else { return (event, nil) }
        let object = try reader.optional { reader throws(Violation) in
          try objects.read(&reader).key
        }
        return (event, object)
      } catch {
        return nil
      }
    }
    guard let decoded else { return nil }
    (event, object) = decoded
  }
}
