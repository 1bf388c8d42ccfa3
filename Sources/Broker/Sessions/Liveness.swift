// Keepalive on the client's hop: whether it still lives, and showing it that we do.
import Streams

/// What keepalive remembers of one client.
struct Liveness {
  /// The client asked for it. Until then no PING is sent: a client without an event loop would take one
  /// for a breach of the protocol.
  var isWanted = false
  /// When something last came in, on the reactor's clock.
  var heardAt = 0.0
  /// When the last PING went out.
  var pingedAt = 0.0
  /// PINGs since something last came in.
  var unanswered = 0
  /// What had been sent to the client when that was looked at last.
  var sentBefore: UInt64 = 0
}

extension ClientSession {
  /// The client probed the keepalive feature: PINGs may be sent from now on.
  func startKeepAlive() {
    guard !liveness.isWanted else { return }
    liveness.isWanted = true
    liveness.heardAt = broker.reactor.now
    awaitSilence()
  }

  private func awaitSilence() {
    let interval = broker.settings.keepAlive.intervalSeconds
    if interval > 0 { timer.start(seconds: Double(interval)) } else { timer.stop() }
  }

  /// The interval is another from now on, or there is none any more.
  func keepAliveChanged() {
    // Before the login is done, and on its way out, the client's timer has other things to do.
    guard liveness.isWanted, login.isDone, login.refusal == nil else { return }
    switch phase {
    case .connected, .opening, .open: awaitSilence()
    case .closing, .leaving, .lost, .over: break
    }
  }

  /// An interval may have passed without a sign of life. Then a PING, or after enough of them the end.
  func checkLiveness() {
    guard liveness.isWanted else { return }
    let settings = broker.settings.keepAlive
    let interval = Double(settings.intervalSeconds)
    guard interval > 0 else { return }
    let now = broker.reactor.now
    if liveness.heardAt > liveness.pingedAt { liveness.unanswered = 0 }
    let hasSentNothing = relay.sentToClient == liveness.sentBefore
    liveness.sentBefore = relay.sentToClient
    let silence = now - max(liveness.heardAt, liveness.pingedAt)
    // Timers may be early by what clocks differ.
    guard silence > interval - 0.001 else {
      timer.start(seconds: interval - silence)
      if hasSentNothing { showLife() }
      return
    }
    if relay.isClientPaused {
      // Its answer could not be read, so none is missed; but it must see that we live.
      liveness.unanswered = 0
    } else if liveness.unanswered >= settings.count {
      broker.tally.keepAliveTimeouts &+= 1
      return finish(
        because: "no answer to \(liveness.unanswered) keepalive PINGs "
          + "(keepalive_interval \(settings.intervalSeconds) s, keepalive_count \(settings.count))",
        .warning)
    } else {
      liveness.unanswered += 1
    }
    liveness.pingedAt = now
    // A paused client that reads nothing either has enough to read already.
    if !relay.isClientPaused || relay.waitingForClient == 0 {
      log[.keepAlive].debug("\(name): PING, \(liveness.unanswered) without an answer so far")
      relay.reply(Packets.keepAlive(KeepAliveProcedure.ping))
    }
    timer.start(seconds: interval)
    settle()
  }

  /// A client whose upload is slowed down, by its daemon or by a rate, is heard as long as some of it is read, but
  /// its own PINGs stand behind the rest, of which the kernel alone may hold megabytes: it would take us for dead
  /// if it heard nothing. This PING asks for nothing; what it has to read already would do as well.
  private func showLife() {
    guard relay.waitingForUpstreams > 0, relay.waitingForClient == 0 else { return }
    log[.keepAlive].debug("\(name): PING, because it waits for its upload")
    relay.reply(Packets.keepAlive(KeepAliveProcedure.ping))
    settle()
  }
}
