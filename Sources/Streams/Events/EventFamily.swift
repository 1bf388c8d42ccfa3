// The families of events: who registers for them, and how their callback IDs are numbered.

/// Events of a family are registered by one call and ended by another. The IDs of its callbacks are unique within the
/// family and the connection.
enum EventFamily: UInt8, Sendable {
  /// Domain events without callback IDs, of clients from before libvirt 1.2.
  case legacy
  case domain, network, storagePool, nodeDevice, secret
  /// Events of QEMU's monitor, in the program of their own.
  case monitor

  /// The family that a call registers for; nil: it is no registration.
  static func registered(by program: UInt32, _ procedure: Int32) -> EventFamily? {
    switch (program, procedure) {
    case (Program.remote, 105), (Program.remote, 167): .legacy
    case (Program.remote, 316): .domain
    case (Program.remote, 313): .network
    case (Program.remote, 368): .storagePool
    case (Program.remote, 374): .nodeDevice
    case (Program.remote, 380): .secret
    case (Program.qemu, 4): .monitor
    default: nil
    }
  }

  /// The family in which a call ends a registration; nil: it ends none.
  static func ended(by program: UInt32, _ procedure: Int32) -> EventFamily? {
    switch (program, procedure) {
    case (Program.remote, 106), (Program.remote, 168): .legacy
    case (Program.remote, 317): .domain
    case (Program.remote, 314): .network
    case (Program.remote, 369): .storagePool
    case (Program.remote, 375): .nodeDevice
    case (Program.remote, 381): .secret
    case (Program.qemu, 5): .monitor
    default: nil
    }
  }

  /// The family of an event. New events are domain events, as most have been.
  static func raising(_ program: UInt32, _ procedure: Int32) -> EventFamily {
    guard program == Program.remote else { return .monitor }
    return switch procedure {
    case 107, 169...174, 195, 224, 241, 248, 268...270, 276, 292, 311: .legacy
    case 315, 446: .network
    case 370, 373: .storagePool
    case 376, 377: .nodeDevice
    case 382, 383: .secret
    default: .domain
    }
  }

  /// The kind of objects whose life cycle the family's event 0 describes.
  var objects: ObjectKind? {
    switch self {
    case .legacy, .domain: .domain
    case .network: .network
    case .storagePool: .storagePool
    case .nodeDevice: .nodeDevice
    case .secret: .secret
    case .monitor: nil
    }
  }

  /// The procedure of its life cycle event.
  var lifeCycle: Int32 {
    switch self {
    case .legacy: 107
    case .domain: 318
    case .network: 315
    case .storagePool: 370
    case .nodeDevice: 376
    case .secret: 382
    case .monitor: -1
    }
  }
}
