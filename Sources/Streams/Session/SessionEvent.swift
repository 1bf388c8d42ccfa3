// Everything that can happen to a session.

/// What a session reacts to. Each is handled by itself, in the order in which they happened.
public enum SessionEvent: Sendable, Equatable {
  /// There are too many clients of its kind.
  case turnAway(Refusal, Message)
  /// A call of the client that `Session.takes` claimed, with its body. The relay passes on nothing of the client until
  /// it is handled.
  case call(PacketHeader, body: [UInt8])
  /// The relay holds a call for this driver until it has a route.
  case needsRoute(Driver)
  /// The name service has answered about the client's user.
  case namesKnown(UnixNames)
  /// The answer to a SASL action.
  case sasl(SASLAnswer)
  /// The answer to `askPolkit`.
  case polkit(PolkitAnswer)
  /// Something happened to the upstream with this number.
  case upstream(Int, UpstreamEvent)
  /// The client's connection is over. The message says why; its severity is that of the log line.
  case clientEnded(LinkEnd, Message)
  case settings(SessionSettings)
  /// The broker stops: the session ends as soon as nothing is under way.
  case stop
  /// The session ends now: by an administrator's request, a limit or the admission.
  case end(Message)
  /// `Session.deadline` has passed.
  case time
  /// The relay has moved packets while `Session.awaitsProgress`.
  case progress
}

/// What a SASL service says of a step.
public enum SASLAnswer: Sendable, Equatable {
  /// The mechanisms that the client may choose from.
  case offers(String)
  /// The client has to answer this.
  case proceeds([UInt8]?)
  /// The client has authenticated. `tooMany` says why it cannot stay nevertheless.
  case done(SASLSuccess, tooMany: Message?)
  /// For the log; the client receives only that authentication failed.
  case failed(Message)
}

/// A SASL authentication that has succeeded.
public struct SASLSuccess: Sendable, Equatable {
  public var lastWords: [UInt8]?
  public var user: String
  public var mechanism: String
  /// Of the protection that the mechanism gives the connection, in bits; 0: none.
  public var strength: Int

  public init(lastWords: [UInt8]?, user: String, mechanism: String, strength: Int) {
    self.lastWords = lastWords
    self.user = user
    self.mechanism = mechanism
    self.strength = strength
  }
}

/// What polkit says.
public enum PolkitAnswer: Sendable, Equatable {
  case granted
  /// The error for the client, and the reason for the log.
  case refused(RemoteError, Message)
}

/// What can happen to an upstream. The first is `located` or `unavailable`.
public enum UpstreamEvent: Sendable, Equatable {
  /// The daemon is known, and the connection to it is under way.
  case located(UpstreamTarget)
  /// There is no such daemon, or it refused the connection at once.
  case unavailable(RemoteError)
  /// The connection has a place in the relay: packets for it are kept until it is open.
  case attached(carriesDescriptors: Bool)
  /// Packets can be sent.
  case connected
  /// The connection could not be made.
  case failed(RemoteError)
  /// The daemon's reply to the broker's own call.
  case answered(PacketHeader, body: [UInt8])
  /// The connection is over, for this reason.
  case ended(Message)
  /// The SASL library's answer about the broker's own login.
  case sasl(UpstreamSASLAnswer)
}

/// The daemon that an upstream leads to, in the terms that the session needs.
public struct UpstreamTarget: Sendable, Equatable {
  /// `virtqemud`, `libvirtd`, ...
  public var daemon: String
  /// Its socket, or the other host.
  public var path: String
  /// What is opened there.
  public var uri: String
  /// It serves every driver itself.
  public var servesAll: Bool
  /// On another host. User numbers mean other users there, so it is not told who the client is.
  public var isRemote: Bool
  /// Features that only brokers have which the client came through: the session probes the other host for each.
  public var marks: [Int32]
  /// There are credentials for a host that asks for SASL.
  public var hasCredentials: Bool

  public init(
    daemon: String, path: String, uri: String, servesAll: Bool, isRemote: Bool = false,
    marks: [Int32] = [], hasCredentials: Bool = false
  ) {
    self.daemon = daemon
    self.path = path
    self.uri = uri
    self.servesAll = servesAll
    self.isRemote = isRemote
    self.marks = marks
    self.hasCredentials = hasCredentials
  }
}

/// What the SASL library says about the broker's own login at another host.
public enum UpstreamSASLAnswer: Sendable, Equatable {
  /// The mechanism it chose, and what is said first. It expects nothing more where `isDone`.
  case starts(mechanism: String, [UInt8]?, isDone: Bool)
  /// What is said next.
  case says([UInt8]?, isDone: Bool)
  /// The protection that was agreed on is in use.
  case accepted
  case failed(Message)
}
