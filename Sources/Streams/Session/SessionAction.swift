// The actions of a session.

/// An action that the session's driver or its host carries out, in order, after the session has handled the event.
public enum SessionAction: Sendable, Equatable {
  // MARK: For the relay
  /// Sends a packet to the client.
  case send([UInt8])
  /// The relay may forward the client's calls.
  case beginRelaying
  /// Answers `needsRoute`.
  case route(Driver, SessionRoute)
  /// A call of the broker's own.
  case call(
    upstream: Int, serial: UInt32, packet: [UInt8], behindClient: Bool, mayBeLarge: Bool = false)
  /// The upstream accepts the client's packets from now on.
  case openUpstream(Int)
  /// Removes an upstream. Its unanswered calls fail with this error.
  case remove(upstream: Int, RemoteError, closedEvent: Bool)
  /// Ends the connection of an upstream, whose place `successor` takes: it leads to the same daemon, and the client's
  /// packets wait for it. Calls that only read are sent again; the others, and the streams, fail with this error.
  case park(upstream: Int, successor: Int, RemoteError)
  /// The daemon of an upstream that was lost has confirmed this registration, with this result.
  case registeredAgain(upstream: Int, Registration, result: [UInt8])
  /// The daemon is surveyed from now on, as to these objects; nil: the daemon was lost, and its lists know of the events
  /// that have come.
  case beginSurvey(upstream: Int, of: ObjectKind?)
  /// A list of the daemon's objects for the client's memory; nil: the daemon has refused it.
  case surveyed(upstream: Int, ObjectKind, list: [UInt8]?)
  /// An upstream that was lost accepts the client's packets from now on, behind the events that the client has missed.
  /// If these are not known and `mayMiss` is false, `missedUnknown` follows.
  case resumeUpstream(Int, mayMiss: Bool)
  /// Drops everything that the client sends from now on.
  case discardClient

  // MARK: For the host
  /// Closes the sending side of the client's connection.
  case closeSending
  /// Finds the daemon for a URI and connects the upstream to it.
  case connect(upstream: Int, uri: String?, isReadOnly: Bool)
  /// Finds the daemon of one driver, in addition to the one that the client opened, and connects the upstream to it.
  case connectDriver(upstream: Int, Driver, main: Int, isReadOnly: Bool)
  /// Connects a parked upstream to its daemon.
  case reconnect(upstream: Int)
  /// A step of the client's SASL login, answered by `SessionEvent.sasl`.
  case sasl(SASLStep)
  /// The SASL exchange has failed. The host discards its state.
  case forgetSASL
  /// Starts the protection negotiated by SASL, behind the data already queued for the client.
  case protectClient
  /// Asks polkit for this action, answered by `SessionEvent.polkit`.
  case askPolkit(action: String)
  /// A step of the broker's own login, answered by `UpstreamEvent.sasl`.
  case upstreamSASL(upstream: Int, UpstreamSASLStep)
  /// `Session.identity` has changed.
  case identityChanged
  case log(SessionLog)
  case note(SessionNote)
  /// The session is over; the last action. The message's severity is that of the log line.
  case end(Message)
}

/// Where a driver's calls go.
public enum SessionRoute: Sendable, Equatable {
  /// The route lasts as long as the upstream, or for one call.
  case upstream(Int, isLasting: Bool)
  case none(RemoteError)
}

/// A step of a client's SASL login.
public enum SASLStep: Sendable, Equatable {
  case begin
  case start(mechanism: String, [UInt8]?)
  case step([UInt8]?)
}

/// A step of the broker's own login.
public enum UpstreamSASLStep: Sendable, Equatable {
  case start(mechanisms: String)
  case step([UInt8]?)
  /// The other host has accepted the login. The library checks the protection and starts it.
  case accept
}

/// A line for the log, without the client's name.
public struct SessionLog: Sendable, Equatable {
  public enum Topic: Sendable {
    case client, keepAlive, sasl, polkit, upstream
  }
  public var topic: Topic
  public var level: Severity
  public var message: Message
  /// The place in the source. It identifies repeats of a line.
  public let file: StaticString
  public let line: UInt

  init(_ topic: Topic, _ level: Severity, _ message: Message, _ file: StaticString, _ line: UInt) {
    self.topic = topic
    self.level = level
    self.message = message
    self.file = file
    self.line = line
  }

  public static func == (a: SessionLog, b: SessionLog) -> Bool {
    a.topic == b.topic && a.level == b.level && a.message == b.message
  }
}

/// An occurrence for metrics and audit.
public enum SessionNote: Sendable, Equatable {
  case refused(Refusal, Message)
  /// The client no longer counts against the limits.
  case turnedAway
  case loggedIn
  case upstreamOpened
  case upstreamFailed
  case upstreamLost
  /// The daemon of this upstream is lost, for this reason, and the client is kept.
  case upstreamAwaited(Int, Message)
  /// It has come back, or is not waited for any more.
  case upstreamReopened(Int)
  case upstreamGivenUp(Int)
  case keepAliveTimeout
}
