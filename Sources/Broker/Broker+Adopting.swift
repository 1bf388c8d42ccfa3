// New settings while clients are connected.
public import Streams

extension Broker {
  /// Applies what can change while clients stay connected: limits, rates, keepalive, times, the users that may
  /// authenticate, TLS, and the other hosts that clients may open. Listeners, their authentication, and the places of
  /// the daemons' sockets stay as they are.
  ///
  /// - Returns: false if the TLS settings are refused, as the log says. Those then stay; the others change all the same.
  public func adopt(_ new: BrokerSettings, because reason: Message) -> Bool {
    let backlog = settings.limits.maxQueuedClients
    settings.limits = new.limits
    settings.keepAlive = new.keepAlive
    let old = settings.timeouts
    settings.timeouts = new.timeouts
    // The command line or an administrator has set the idle timeout.
    settings.timeouts.idleSeconds = old.idleSeconds
    if new.timeouts.slowCallSeconds != old.slowCallSeconds { sessions.slowCalls.secondsChanged() }
    settings.sasl = new.sasl
    authentication.sasl?.adopt(new.sasl)
    if backlog != new.limits.maxQueuedClients {
      for listener in acceptor.listeners { listener.setBacklog(new.limits.maxQueuedClients) }
    }
    if new.rates != settings.rates {
      settings.rates = new.rates
      sessions.change(rates: new.rates)
    }
    if new.admin != settings.admin {
      settings.admin = new.admin
      admin?.adopt(new.admin)
    }
    backends.forwarding.settings = new.upstreams
    reopenFiles()
    for session in sessions.all {
      session.relay.maxRequests = new.limits.maxClientRequests
      session.post(.settings(SessionSettings(settings)))
    }
    limitsChanged()
    guard let tlsAcceptor = acceptor.tls, let tls = new.tls, life.acceptsClients else {
      return true
    }
    guard tlsAcceptor.adopt(tls, because: reason) == nil else { return false }
    settings.tls = tls
    return true
  }

  /// Reopens the files that records are written to: they may have been moved away.
  public func reopenFiles() { observation.audit?.reopen() }

  /// Applies new limits. Connected clients stay.
  func setLimits(maxClients: Int, maxAnonymousClients: Int) {
    settings.limits.maxClients = maxClients
    settings.limits.maxAnonymousClients = maxAnonymousClients
    log.write(.limitsChanged, [maxClients, maxAnonymousClients])
    limitsChanged()
  }

  private func limitsChanged() {
    sessions.limitMemory(by: settings.limits)
    acceptor.limitsChanged()
  }

  /// Sets the idle timeout, after which the broker stops; 0: it does not.
  func setIdleSeconds(_ seconds: Int) {
    settings.timeouts.idleSeconds = seconds
    occupancyChanged()
  }

  /// Loads the current TLS files at an administrator's request.
  /// - Returns: the reason, if the new ones are refused.
  func renewCertificates(because reason: Message) -> Message? {
    acceptor.tls?.reload(because: reason)?.message
  }
}

/// A timer of the daemon, on the broker's loop.
public final class BrokerTimer {
  private let alarm: Alarm

  init(on reactor: Reactor, _ ring: @escaping () -> Void) { alarm = Alarm(on: reactor, ring) }

  /// Fires once, this many seconds from now.
  public func start(seconds: Double) { alarm.start(seconds: seconds) }
  public func stop() { alarm.stop() }
}
