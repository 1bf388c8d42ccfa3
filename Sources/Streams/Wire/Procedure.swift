// What a relay wants to know of a procedure, and where to find it.

/// One procedure of an RPC program: whose it is and what travels with it.
public struct Procedure: Sendable {
  /// The name in libvirt's interface description, without the prefix of its program.
  public let name: StaticString
  /// A message from the server. A call with this number is one of an unknown procedure.
  public let isEvent: Bool
  /// The driver that serves the call or raises the event.
  public let driver: Driver
  /// Which way the stream runs that the call opens, if it opens one.
  public let stream: StreamDirection
  /// Where descriptors may travel along. A call or reply without them is always legal too.
  public let descriptors: Descriptors
  /// What the permissions it needs let somebody do.
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

/// What a call does, as far as the permissions tell that libvirt's own daemons ask for: the column `acl`.
public enum Access: UInt8, CaseIterable, Sendable {
  /// It looks at what is there, or asks for no permission at all.
  case read
  /// It shows what is inside: a guest's memory, screen or console, a volume, a secret.
  case disclose
  /// It changes something, or can.
  case change

  /// Its place in a set of them.
  var bit: UInt8 { 1 << rawValue }
}

/// The part of libvirt that serves a procedure: in the modular layout, a daemon of its own.
///
/// These are the values of the column `driver` in `scripts/procedures/*.tsv`. It says through which of a
/// connection's drivers a backend serves the call, which is not always what the procedure's name suggests:
/// detaching a node device from the host goes through the hypervisor. The daemons named are of system connections
/// to a modular libvirt; the monolithic libvirtd serves all drivers.
public enum Driver: UInt8, CaseIterable, Sendable {
  /// `hypervisor`: the daemon of the connection's own URI, virtqemud for `qemu`. Also everything that belongs to the
  /// connection as a whole, features and identity included.
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
  /// `proxy`: no driver at all. The daemon a client is connected to answers by itself: open, close, authentication.
  case proxy
}

/// Which way the data of a stream runs.
public enum StreamDirection: UInt8, Sendable {
  /// The procedure opens no stream.
  case none
  /// From server to client.
  case download
  /// From client to server.
  case upload
  case both
}

/// Which packets of a procedure may be followed by descriptors, on UNIX sockets.
public struct Descriptors: OptionSet, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let call = Descriptors(rawValue: 1)
  public static let reply = Descriptors(rawValue: 2)
}

extension ProcedureTable {
  /// What is known of a procedure: nothing if the program or the number is not in the table.
  ///
  /// That is no error of a peer's: a newer libvirt has more procedures, and they are relayed all the same.
  public static func find(program: UInt32, procedure: Int32) -> Procedure? {
    guard let table = table(of: program) else { return nil }
    // Compared before 1 is taken away: the least number there is would not survive it.
    guard procedure >= 1, procedure <= table.count else { return nil }
    return table[Int(procedure) - 1]
  }

  /// How many procedures of a program are known.
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
