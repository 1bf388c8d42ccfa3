// The properties of a procedure, and their lookup.

/// One procedure of an RPC program: its driver, its access, and whether it has a stream or descriptors.
public struct Procedure: Sendable {
  /// The name in libvirt's interface description, without the prefix of its program.
  public let name: StaticString
  /// The procedure is an event from the server. A call with this number is a call of an unknown procedure.
  public let isEvent: Bool
  /// The driver that serves the call or raises the event.
  public let driver: Driver
  /// The direction of the stream that the call opens.
  public let stream: StreamDirection
  /// The packets that may carry descriptors. A call or reply without descriptors is always legal too.
  public let descriptors: Descriptors
  /// The kind of access that the permissions of the procedure grant.
  public let access: Access

  enum Kind { case call, event }

  init(
    _ name: StaticString, _ kind: Kind, _ driver: Driver, stream: StreamDirection = .none,
    descriptors: Descriptors = [], access: Access = .read
  ) {
    self.name = name
    self.isEvent = kind == .event
    self.driver = driver
    self.stream = stream
    self.descriptors = descriptors
    self.access = access
  }
}

/// The effect of a call, derived from the permissions that libvirt's daemons check for it: the column `acl`.
public enum Access: UInt8, CaseIterable, Sendable {
  /// The call reads state, or needs no permission.
  case read
  /// The call discloses content: a guest's memory, screen or console, a volume, a secret.
  case disclose
  /// The call changes something, or can.
  case change

  /// The bit of the access in a bit set.
  var bit: UInt8 { 1 << rawValue }
}

/// The part of libvirt that serves a procedure: in the modular layout, a daemon of its own.
///
/// These are the values of the column `driver` in `scripts/procedures/*.tsv`: the driver through which a backend serves
/// the call. The procedure's name can suggest another one. For example, the hypervisor's driver detaches a node device
/// from the host. The daemons named here are those of system connections to a modular libvirt. The monolithic libvirtd
/// serves all drivers.
public enum Driver: UInt8, CaseIterable, Sendable {
  /// `hypervisor`: the daemon of the connection's own URI, virtqemud for `qemu`. It also serves calls about the
  /// connection itself, such as features and identity.
  case hypervisor
  /// `storage`: virtstoraged.
  case storage
  /// `network`: virtnetworkd.
  case network
  /// `nodedev`: virtnodedevd.
  case nodeDevice
  /// `interface`: virtinterfaced.
  case interface
  /// `secret`: virtsecretd.
  case secret
  /// `nwfilter`: virtnwfilterd.
  case nwfilter
  /// `proxy`: no driver. The daemon that the client is connected to answers by itself: open, close, authentication.
  case proxy
}

/// The direction of a stream's data.
public enum StreamDirection: UInt8, Sendable {
  /// The procedure opens no stream.
  case none
  /// From server to client.
  case download
  /// From client to server.
  case upload
  case both
}

/// The packets of a procedure that descriptors may follow, on UNIX sockets.
public struct Descriptors: OptionSet, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let call = Descriptors(rawValue: 1)
  public static let reply = Descriptors(rawValue: 2)
}

extension ProcedureTable {
  /// The properties of a procedure. Nil: the table does not have the program or the number.
  ///
  /// An unknown procedure is not an error: a newer libvirt has more procedures, and the broker relays them too.
  public static func find(program: UInt32, procedure: Int32) -> Procedure? {
    // Each table by itself: to return one of them would retain it, for every call.
    switch program {
    case Program.remote: find(procedure, in: remote)
    case Program.qemu: find(procedure, in: qemu)
    case Program.lxc: find(procedure, in: lxc)
    case Program.admin: find(procedure, in: admin)
    default: nil
    }
  }

  @inline(__always)
  private static func find(_ procedure: Int32, in table: [Procedure]) -> Procedure? {
    // Checked before the subtraction of 1, which would overflow for the least number.
    guard procedure >= 1, procedure <= table.count else { return nil }
    return table[Int(procedure) - 1]
  }

  /// The number of known procedures of a program.
  public static func count(of program: UInt32) -> Int { table(of: program)?.count ?? 0 }

  private static func table(of program: UInt32) -> [Procedure]? {
    switch program {
    case Program.remote: remote
    case Program.qemu: qemu
    case Program.lxc: lxc
    case Program.admin: admin
    default: nil
    }
  }
}
