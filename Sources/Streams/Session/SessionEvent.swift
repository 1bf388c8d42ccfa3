// The events of a session.

/// An event of a session. The session handles one event at a time, in the order of their occurrence.
public enum SessionEvent: Sendable, Equatable {
  /// A limit on clients is reached, so the client is turned away.
  case turnAway(Refusal, Message)
  /// A call of the client that `Session.takes` claimed, with its body. The relay forwards no packet of the client until
  /// the session has handled it.
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
  /// The client's connection is over. The message has the reason, and the severity of the log line.
  case clientEnded(LinkEnd, Message)
  case settings(SessionSettings)
  /// The broker is draining: the session continues, and ends when its client is idle.
  case drain
  /// The broker is stopping: the session ends as soon as nothing is under way.
  case stop
  /// The session ends now: by an administrator's request, a limit or the admission.
  case end(Message)
  /// `Session.deadline` has passed.
  case time
  /// The relay has moved packets while `Session.awaitsProgress`.
  case progress
}

/// The answer of the SASL service to a step.
public enum SASLAnswer: Sendable, Equatable {
  /// The mechanisms that the client may choose from.
  case offers(String)
  /// The client must answer this data.
  case proceeds([UInt8]?)
  /// The client has authenticated. `tooMany`: the limit for which it is turned away nevertheless; nil: none.
  case done(SASLSuccess, tooMany: Message?)
  /// The reason for the log. The client receives only that authentication failed.
  case failed(Message)
}

/// A SASL authentication that has succeeded.
public struct SASLSuccess: Sendable, Equatable {
  public var lastWords: [UInt8]?
  public var user: String
  public var mechanism: String
  /// Strength of the protection that the mechanism gives the connection, in bits; 0: none.
  public var strength: Int

  public init(lastWords: [UInt8]?, user: String, mechanism: String, strength: Int) {
    self.lastWords = lastWords
    self.user = user
    self.mechanism = mechanism
    self.strength = strength
  }
}

/// The answer of polkit.
public enum PolkitAnswer: Sendable, Equatable {
  case granted
  /// The error for the client, and the reason for the log.
  case refused(RemoteError, Message)
}

/// An event of an upstream. The first is `located` or `unavailable`.
public enum UpstreamEvent: Sendable, Equatable {
  /// The daemon is known, and the connection to it is under way.
  case located(UpstreamTarget)
  /// No such daemon exists, or it refused the connection at once.
  case unavailable(RemoteError)
  /// The connection has a slot in the relay. The relay keeps packets for it until it is open.
  case attached(carriesDescriptors: Bool)
  /// Packets can be sent.
  case connected
  /// The connection attempt failed.
  case failed(RemoteError)
  /// The daemon's reply to the broker's own call.
  case answered(PacketHeader, body: [UInt8])
  /// The connection is over, for this reason, which the message has for the log. The client had this at the daemon.
  case ended(LinkEnd, Message, Dependents)
  /// The SASL library's answer about the broker's own login.
  case sasl(UpstreamSASLAnswer)
  /// The client follows the life cycles of these objects from now on.
  case toSurvey(ObjectKind)
  /// What the client has missed while the daemon was lost is not known.
  case missedUnknown
}

/// The daemon that an upstream leads to, as far as the session needs to know it.
public struct UpstreamTarget: Sendable, Equatable {
  /// `virtqemud`, `libvirtd`, ...
  public var daemon: String
  /// The daemon's socket, or the other host.
  public var path: String
  /// The URI that CONNECT_OPEN opens there.
  public var uri: String
  /// The daemon serves every driver itself.
  public var servesAll: Bool
  /// The daemon is on another host. Numeric user IDs mean other users there, so it does not receive the client's
  /// identity.
  public var isRemote: Bool
  /// Marks of the brokers that the client came through. The session asks the other host for each mark as a feature, to
  /// detect a loop.
  public var marks: [Int32]
  /// The broker has credentials for a host that requires SASL.
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

/// The answer of the SASL library about the broker's own login at another host.
public enum UpstreamSASLAnswer: Sendable, Equatable {
  /// The mechanism that the library chose, and its first data. `isDone`: the library expects no more data.
  case starts(mechanism: String, [UInt8]?, isDone: Bool)
  /// The next data. `isDone`: the library expects no more data.
  case says([UInt8]?, isDone: Bool)
  /// The negotiated protection is active.
  case accepted
  case failed(Message)
}
