// What a call leaves behind at the daemon that depends on the connection, and which calls may be sent again.

/// The effect of a call that matters when its daemon's connection is lost.
enum CallEffect: UInt8, Sendable {
  /// It changes something, or may, but nothing that depends on the connection.
  case lasting
  /// It only reads, so it may be sent again to the next daemon.
  case readsOnly
  case addsCloseCallback, removesCloseCallback
  case addsRegistration, removesRegistration
  /// A phase of a migration, which the daemon ends by itself when the connection is lost.
  case beginsMigration, performsMigration, endsMigration
  /// It starts a guest. The call's flags say whether the daemon destroys it with the connection.
  case startsGuest
  /// It starts a guest that the daemon destroys with the connection.
  case startsBoundGuest
  /// It gives the daemon descriptors for as long as the connection lasts.
  case associatesDescriptors

  /// The effect of a procedure. An unknown one counts as a change.
  static func of(_ program: UInt32, _ procedure: Int32) -> CallEffect {
    switch program {
    case Program.remote:
      guard procedure >= 0, procedure < remote.count else { return .lasting }
      return remote[Int(procedure)]
    case Program.qemu:
      return switch procedure {
      case 4: .addsRegistration
      case 5: .removesRegistration
      default: .lasting
      }
    default: return .lasting
    }
  }

  /// Whether the relay takes note of the reply.
  var dependsOnConnection: Bool { self != .lasting && self != .readsOnly }

  var changesRegistrations: Bool { self == .addsRegistration || self == .removesRegistration }

  /// Whether these arguments of `startsGuest` have the flag of a guest that its daemon destroys when the connection is closed
  /// (VIR_DOMAIN_START_AUTODESTROY). The flags are the last word of the arguments.
  static func isBound(_ arguments: [UInt8]) -> Bool {
    arguments.last.map { $0 & 2 != 0 } ?? false
  }

  private static let remote: [CallEffect] = {
    var effects = [CallEffect](repeating: .lasting, count: 512)
    func set(_ effect: CallEffect, _ procedures: [Int]) {
      for procedure in procedures { effects[procedure] = effect }
    }
    set(.readsOnly, resendable)
    set(.addsRegistration, [105, 167, 313, 316, 368, 374, 380])
    set(.removesRegistration, [106, 168, 314, 317, 369, 375, 381])
    set(.addsCloseCallback, [Int(Remote.connectRegisterCloseCallback)])
    set(.removesCloseCallback, [Int(Remote.connectUnregisterCloseCallback)])
    // BEGIN at the source, PREPARE at the destination; CONFIRM and FINISH end them.
    set(.beginsMigration, [61, 108, 148, 213, 214, 215, 302, 303, 304])
    set(.performsMigration, [62, 216, 305])
    set(.endsMigration, [63, 109, 217, 218, 306, 307])
    set(.startsGuest, [10, 196, 309, 310])
    set(.associatesDescriptors, [443])
    return effects
  }()

  /// Calls that may be sent twice, because they read and change nothing: reviewed one by one. Not among them although
  /// libvirt allows them to read-only clients: 298, which deletes the statistics of a completed job; calls that disclose
  /// content (103, 104, 145, 396); calls that may ask the guest's agent (353, 418); registrations.
  private static let resendable: [Int] = [
    // The host and the connection.
    3, 4, 5, 6, 7, 59, 60, 101, 102, 110, 122, 149, 157, 158, 162, 203, 227, 228, 289, 293, 312,
    340, 395, 403,
    // Domains: numbers, lists, look-ups.
    21, 22, 23, 24, 25, 37, 51, 273, 344,
    // One domain.
    14, 15, 16, 17, 18, 19, 20, 56, 57, 64, 65, 121, 150, 151, 159, 163, 183, 194, 198, 202, 206,
    212, 223, 229, 230, 238, 243, 253, 255, 257, 262, 263, 265, 278, 280, 299, 351, 365, 387, 422,
    426, 449,
    // Snapshots and checkpoints.
    186, 187, 188, 189, 190, 191, 244, 246, 247, 271, 272, 274, 275, 413, 414, 415, 416,
    // Networks and their ports.
    36, 38, 43, 44, 45, 46, 47, 50, 52, 152, 153, 283, 341, 404, 405, 407, 409, 445,
    // Interfaces.
    126, 127, 128, 129, 130, 137, 138, 156, 284,
    // Storage.
    71, 72, 73, 74, 84, 85, 86, 87, 88, 89, 91, 92, 95, 96, 97, 98, 99, 100, 154, 155, 281, 282,
    378, 391,
    // Node devices.
    111, 112, 113, 114, 115, 116, 117, 285, 297, 433, 435, 436,
    // Secrets without their values, and filters.
    139, 140, 141, 143, 147, 175, 176, 177, 178, 179, 286, 287, 397, 398, 401,
  ]
}
