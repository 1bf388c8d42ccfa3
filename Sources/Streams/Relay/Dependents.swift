// What a client has at a daemon that exists only as long as the connection to it.

/// What depends on an upstream's connection: it is gone with the connection, and another connection does not restore it.
public struct Dependents: Equatable, Sendable {
  /// The client has registered for the event that the connection is closed, and reconnects by itself.
  public internal(set) var hasCloseCallback = false
  /// Event registrations that the daemon has confirmed. Set when the connection is lost.
  public internal(set) var registrations: [Registration] = []
  /// The client has a registration that the broker does not understand.
  public internal(set) var hasUnknownRegistration = false
  /// All of them report life cycles of objects whose states are known.
  public internal(set) var isWhole = true
  /// Migrations that have begun and not ended.
  public internal(set) var migrations = 0
  /// The client has started a guest that the daemon destroys with the connection.
  public internal(set) var hasBoundGuest = false
  /// The client has given the daemon descriptors.
  public internal(set) var hasDescriptors = false

  public init() {}

  /// Writes or reads what the relay notes while the connection lasts.
  mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    try coder.code(&hasCloseCallback)
    try coder.code(&migrations, in: 0...Int(Int32.max))
    try coder.code(&hasBoundGuest)
    try coder.code(&hasDescriptors)
  }

  /// The client loses nothing with the connection.
  var isEmpty: Bool { mayBeRestored && registrations.isEmpty }

  /// Nothing but registrations depends on the connection.
  var mayBeRestored: Bool {
    !hasCloseCallback && migrations == 0 && !hasBoundGuest && !hasDescriptors
      && !hasUnknownRegistration
  }

  /// A daemon has answered a call with this effect.
  mutating func note(_ effect: CallEffect, _ status: PacketStatus) {
    if effect == .endsMigration { migrations = max(0, migrations - 1) }
    guard status == .ok else { return }
    switch effect {
    case .addsCloseCallback: hasCloseCallback = true
    case .removesCloseCallback: hasCloseCallback = false
    case .beginsMigration: migrations += 1
    case .startsBoundGuest: hasBoundGuest = true
    case .associatesDescriptors: hasDescriptors = true
    case .addsRegistration, .removesRegistration: break
    case .lasting, .readsOnly, .performsMigration, .endsMigration, .startsGuest: break
    }
  }

  /// A call with this effect has no answer. The daemon may have carried it out, or a part of it.
  mutating func noteUnanswered(_ effect: CallEffect) {
    switch effect {
    case .beginsMigration, .performsMigration, .endsMigration: migrations += 1
    case .startsBoundGuest, .associatesDescriptors: note(effect, .ok)
    default: break
    }
  }
}
