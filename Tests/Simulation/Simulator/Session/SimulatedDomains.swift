// The guests of a simulated host: they change while their daemon lives, and while it is away.
@testable import Streams

/// Guests with their life cycles, as any number of connections to their daemon see them.
final class SimulatedDomains {
  struct Guest: Equatable {
    var isPersistent = false
    var isPaused = false
    /// Its number while it runs; nil: it does not.
    var id: Int32?

    var exists: Bool { isPersistent || id != nil }
  }

  /// What happened to a guest: the numbers of its event, and the guest's number in it.
  struct Happening: Equatable {
    let guest: UInt8
    let event: Int32
    var detail: Int32 = 0
    var id: Int32 = -1
  }

  private(set) var guests: [UInt8: Guest] = [:]
  private var lastID: Int32 = 0

  init(_ random: inout Seed) {
    for guest: UInt8 in 1...3 where random.once(in: 2) {
      guests[guest] = Guest(isPersistent: true, id: random.once(in: 2) ? nextID() : nil)
    }
  }

  private func nextID() -> Int32 {
    lastID += 1
    return lastID
  }

  /// Something happens to one of the guests. Nil: nothing.
  func change(_ random: inout Seed) -> Happening? {
    let number = UInt8(random.pick(1...5))
    var guest = guests[number] ?? Guest()
    var happening: Happening?
    switch random.pick(0...5) {
    case 0 where !guest.isPersistent:
      guest.isPersistent = true
      happening = Happening(guest: number, event: 0, id: guest.id ?? -1)
    case 1 where guest.isPersistent:
      guest.isPersistent = false
      happening = Happening(guest: number, event: 1, id: guest.id ?? -1)
    case 2 where guest.id == nil:
      guest.id = nextID()
      happening = Happening(guest: number, event: 2, id: guest.id ?? -1)
    case 3 where guest.id != nil && !guest.isPaused:
      guest.isPaused = true
      happening = Happening(guest: number, event: 3, id: guest.id ?? -1)
    case 4 where guest.isPaused:
      guest.isPaused = false
      happening = Happening(guest: number, event: 4, id: guest.id ?? -1)
    case 5 where guest.id != nil:
      guest.id = nil
      guest.isPaused = false
      happening = Happening(guest: number, event: 5)
    default: break
    }
    guests[number] = guest.exists ? guest : nil
    return happening
  }

  /// What a client knows after an event; a client does not look again.
  static func apply(_ happening: Happening, to guests: inout [UInt8: Guest]) -> String? {
    var guest = guests[happening.guest] ?? Guest()
    let isRunning = guest.id != nil
    var wrong: String?
    switch happening.event {
    case 0: guest.isPersistent = true
    case 1:
      if !guest.isPersistent { wrong = "undefined, and was not defined" }
      guest.isPersistent = false
    case 2:
      if isRunning { wrong = "started, and ran" }
      guest.id = happening.id
    case 3:
      if !isRunning || guest.isPaused { wrong = "suspended, and did not run" }
      guest.isPaused = true
    case 4:
      if !guest.isPaused { wrong = "resumed, and was not suspended" }
      guest.isPaused = false
    case 5:
      if !isRunning { wrong = "stopped, and did not run" }
      guest.id = nil
      guest.isPaused = false
    default: wrong = "event \(happening.event)"
    }
    guests[happening.guest] = guest.exists ? guest : nil
    return wrong.map { "guest \(happening.guest) has \($0)" }
  }

  static func name(_ guest: UInt8) -> [UInt8] {
    var writer = XDRWriter()
    writer.string("guest\(guest)")
    return writer.bytes + [UInt8](repeating: guest, count: 16)
  }

  /// The reply to CONNECT_LIST_ALL_DOMAINS.
  func list(flags: UInt32) -> [UInt8] {
    let chosen = guests.sorted { $0.key < $1.key }.filter { _, guest in
      switch flags {
      case 4: guest.isPersistent
      case 32: guest.isPaused
      case 128: false
      default: true
      }
    }
    var writer = XDRWriter()
    writer.array(chosen) { writer, element in
      writer.append(SimulatedDomains.name(element.key))
      writer.int32(element.value.id ?? -1)
    }
    writer.uint32(UInt32(chosen.count))
    return writer.bytes
  }
}
