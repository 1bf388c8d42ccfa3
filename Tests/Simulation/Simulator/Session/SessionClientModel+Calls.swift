// The arguments of a simulated client's calls.
@testable import Streams

extension SessionClientModel {
  /// Names the call of CONNECT_OPEN in its URI, so that the simulation knows which call led to an upstream.
  static func uri(_ serial: UInt32) -> String { "qemu:///system?call=\(serial)" }

  /// What a client says about itself is never passed on.
  static let claim = [
    TypedParameter("user-name", .string("root")), TypedParameter("unix-user-id", .ullong(0)),
    TypedParameter("sasl-user-name", .string("admin")),
  ]

  /// Procedures of the hypervisor, storage and network drivers.
  private static let procedures: [Int32] = [3, 3, 23, 14, 84, 85, 46, 57]

  func ordinaryCall(
    _ serial: UInt32, _ random: inout Seed
  ) -> (PacketHeader, [UInt8]) {
    var header = PacketHeader(
      procedure: SessionClientModel.procedures[random.pick(0...7)], kind: .call, serial: serial)
    var body = Stamp.bytes(serial, tag, padding: 4 * random.pick(0...20))
    var drawn = random.pick(0...19)
    if habits.follows {
      // A registration, the end of one, or a change; otherwise it reads.
      drawn = [9, 9, 9, 11, 7, 19, 19, 19][random.pick(0...7)]
    }
    switch drawn {
    case 0: header.procedure = 4000
    case 1:
      header.program = Program.qemu
      header.procedure = 1
    case 2:
      header.procedure = Remote.connectSupportsFeature
      body = FeatureArguments(feature: 3).encoded
    case 3, 4: header.procedure = Remote.connectRegisterCloseCallback
    case 5 where registeredForClose && random.once(in: 3):
      header.procedure = Remote.connectUnregisterCloseCallback
      hasUnregistered = true
    // The first phase of a migration and its last.
    case 6: header.procedure = [302, 307][random.pick(0...1)]
    case 9, 10: return registration(serial, &random)
    case 11:
      let left = callbacks.keys.filter { !ending.values.contains($0) && !unsure.contains($0) }
      guard let callback = left.min(), random.once(in: 3) else { break }
      header.procedure = Registering.end
      ending[serial] = callback
      body = Stamp.bytes(UInt32(bitPattern: callback), serial, tag)
    // A change.
    case 7, 8: header.procedure = 8
    default: break
    }
    return (header, body)
  }

  /// For the life cycles of all guests, or for watchdogs, which say nothing about a state.
  private func registration(
    _ serial: UInt32, _ random: inout Seed
  ) -> (PacketHeader, [UInt8]) {
    let event: UInt32 = !habits.follows && random.once(in: 6) ? 3 : 0
    registering[serial] = Int32(event)
    return (
      PacketHeader(procedure: Registering.register, kind: .call, serial: serial),
      Stamp.bytes(event, 0, tag)
    )
  }

  func hopelessCall(
    _ serial: UInt32, _ random: inout Seed
  ) -> (PacketHeader, [UInt8]) {
    var header = PacketHeader(procedure: 3, kind: .call, serial: serial)
    switch random.pick(0...6) {
    case 0: header.program = 0x1234_5678
    case 1: header.version = 2
    case 2: header.procedure = Remote.connectOpen
    case 3: header.procedure = Remote.connectSupportsFeature
    case 4:
      header.procedure = Remote.connectSetIdentity
      let unknown = [TypedParameter("shoe-size", .ullong(46))]
      return (header, SetIdentityArguments(parameters: unknown).encoded)
    case 5:
      header.procedure = Remote.connectSetIdentity
      let mistyped = [TypedParameter("unix-user-id", .string("0"))]
      return (header, SetIdentityArguments(parameters: mistyped).encoded)
    default:
      header.procedure = Remote.connectSupportsFeature
      header.status = .error
      return (header, FeatureArguments(feature: 10).encoded)
    }
    // A count or a string that is longer than what follows.
    return (header, [0, 0])
  }
}
