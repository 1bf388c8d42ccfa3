// Everything that a session can have done.

/// What the session's driver or its host carries out, in order, after the event has been handled.
public enum SessionAction: Sendable, Equatable {
  // MARK: The relay's
  /// Sends a packet to the client.
  case send([UInt8])
  /// The client may use what it has opened.
  case beginRelaying
  /// Answers `needsRoute`.
  case route(Driver, SessionRoute)
  /// A call of the broker's own.
  case call(upstream: Int, serial: UInt32, packet: [UInt8], behindClient: Bool)
  /// The upstream takes the client's packets from now on.
  case openUpstream(Int)
  /// Ends an upstream. Calls that it leaves unanswered fail with this error.
  case remove(upstream: Int, RemoteError, closedEvent: Bool)
  /// What the client sends from now on is dropped.
  case discardClient

  // MARK: The host's
  /// Closes the sending side of the client's connection.
  case closeSending
  /// Finds the daemon for a URI and connects to it, under this upstream's number.
  case connect(upstream: Int, uri: String?, isReadOnly: Bool)
  /// Finds the daemon of a driver's own, beside the one that the client opened, and connects to it.
  case connectDriver(upstream: Int, Driver, main: Int, isReadOnly: Bool)
  /// A step of the client's SASL login, answered by `SessionEvent.sasl`.
  case sasl(SASLStep)
  /// The exchange is over without success.
  case forgetSASL
  /// Everything behind what is queued for the client travels under the protection that SASL agreed on.
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
  /// As long as the upstream lives, or for one call.
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
  /// The other host is satisfied: the protection is checked and put into use.
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
  /// Where in the program it is said: repeats of a line are known by it.
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

/// What is counted or recorded.
public enum SessionNote: Sendable, Equatable {
  case refused(Refusal, Message)
  /// It counts no more against the limits.
  case turnedAway
  case loggedIn
  case upstreamOpened
  case upstreamFailed
  case upstreamLost
  case keepAliveTimeout
}
