// The names of the session's states and events, for traces and for coverage.
@testable import Streams

extension Session.State {
  var name: String {
    switch self {
    case .loggingIn(let login, _): "loggingIn." + login.name
    case .turnedAway: "turnedAway"
    case .connected: "connected"
    case .opening: "opening"
    case .open: "open"
    case .closing: "closing"
    case .leaving: "leaving"
    case .lost: "lost"
    case .over: "over"
    }
  }

  static let names =
    Session.Login.names.map { "loggingIn." + $0 } + [
      "turnedAway", "connected", "opening", "open", "closing", "leaving", "lost",
    ]
}

extension Session.Login {
  var name: String {
    switch self {
    case .awaited: "awaited"
    case .beginning: "beginning"
    case .offered: "offered"
    case .stepping: "stepping"
    case .started: "started"
    case .askingPolkit: "askingPolkit"
    }
  }

  static let names = ["awaited", "beginning", "offered", "stepping", "started", "askingPolkit"]
}

extension SessionEvent {
  var name: String {
    switch self {
    case .turnAway: "turnAway"
    case .call: "call"
    case .needsRoute: "needsRoute"
    case .namesKnown: "namesKnown"
    case .sasl: "sasl"
    case .polkit: "polkit"
    case .upstream: "upstream"
    case .clientEnded: "clientEnded"
    case .settings: "settings"
    case .drain: "drain"
    case .stop: "stop"
    case .end: "end"
    case .time: "time"
    case .progress: "progress"
    }
  }

  static let names = [
    "turnAway", "call", "needsRoute", "namesKnown", "sasl", "polkit", "upstream", "clientEnded",
    "settings", "drain", "stop", "end", "time", "progress",
  ]
}

extension Upstream.State {
  var name: String {
    switch self {
    case .resting: "resting"
    case .locating: "locating"
    case .connecting: "connecting"
    case .listingMethods: "listingMethods"
    case .askingPolkit: "askingPolkit"
    case .listingMechanisms: "listingMechanisms"
    case .talkingSASL: "talkingSASL"
    case .opening: "opening"
    case .recognising: "recognising"
    case .awaitingNames: "awaitingNames"
    case .identifying: "identifying"
    case .registering: "registering"
    case .settling: "settling"
    case .surveying: "surveying"
    case .ready: "ready"
    case .closing: "closing"
    }
  }

  static let names = [
    "resting", "locating", "connecting", "listingMethods", "askingPolkit", "listingMechanisms",
    "talkingSASL",
    "opening", "recognising", "awaitingNames", "identifying", "registering", "settling",
    "surveying", "ready",
    "closing",
  ]
}

extension UpstreamEvent {
  var name: String {
    switch self {
    case .located: "located"
    case .unavailable: "unavailable"
    case .attached: "attached"
    case .connected: "connected"
    case .failed: "failed"
    case .answered: "answered"
    case .ended: "ended"
    case .sasl: "sasl"
    case .toSurvey: "toSurvey"
    case .missedUnknown: "missedUnknown"
    }
  }

  static let names = [
    "located", "unavailable", "attached", "connected", "failed", "answered", "ended", "sasl",
  ]
}

extension SessionAction {
  var name: String {
    switch self {
    case .send: "send"
    case .beginRelaying: "beginRelaying"
    case .route: "route"
    case .call: "call"
    case .openUpstream: "openUpstream"
    case .remove: "remove"
    case .park: "park"
    case .registeredAgain: "registeredAgain"
    case .beginSurvey: "beginSurvey"
    case .surveyed: "surveyed"
    case .resumeUpstream: "resumeUpstream"
    case .discardClient: "discardClient"
    case .closeSending: "closeSending"
    case .connect: "connect"
    case .connectDriver: "connectDriver"
    case .reconnect: "reconnect"
    case .sasl: "sasl"
    case .forgetSASL: "forgetSASL"
    case .protectClient: "protectClient"
    case .askPolkit: "askPolkit"
    case .upstreamSASL: "upstreamSASL"
    case .identityChanged: "identityChanged"
    case .log: "log"
    case .note: "note"
    case .end: "end"
    }
  }
}
