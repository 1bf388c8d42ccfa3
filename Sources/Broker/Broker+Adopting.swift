// New settings while clients are connected.
import Streams

extension Broker {
  /// Takes into use what can change without anybody being disconnected: limits, rates, keepalive, times, who
  /// may log in, TLS, which other hosts may be opened. Where the broker listens, how clients log in there, and where the daemons are stays as it is.
  ///
  /// False: the TLS settings are refused, as the log says. Those then stay, the others change all the same.
  public func adopt(_ new: BrokerSettings, because reason: String) -> Bool {
    let backlog = settings.limits.maxQueuedClients
    settings.limits = new.limits
    settings.keepAlive = new.keepAlive
    settings.loginSeconds = new.loginSeconds
    settings.openSeconds = new.openSeconds
    settings.stopSeconds = new.stopSeconds
    if new.slowCallSeconds != settings.slowCallSeconds {
      settings.slowCallSeconds = new.slowCallSeconds
      patienceChanged()
    }
    settings.sasl = new.sasl
    sasl?.adopt(new.sasl)
    watermarks = Watermarks(new.limits)
    if backlog != new.limits.maxQueuedClients {
      for listener in listeners { listener.setBacklog(new.limits.maxQueuedClients) }
    }
    if new.rates != settings.rates {
      settings.rates = new.rates
      change(rates: new.rates)
    }
    if new.admin != settings.admin {
      settings.admin = new.admin
      admin?.adopt(new.admin)
    }
    forwarding.settings = new.upstreams
    reopenFiles()
    for session in sessions.values {
      session.relay.maxRequests = new.limits.maxClientRequests
      session.post(.settings(SessionSettings(settings)))
    }
    limitsChanged()
    guard let tlsAcceptor, let tls = new.tls, !isStopping else { return true }
    guard tlsAcceptor.adopt(tls, because: reason) == nil else { return false }
    settings.tls = tls
    return true
  }

  /// Opens files that records are written to once more: they may have been moved away.
  public func reopenFiles() { audit?.reopen() }
}

/// A timer of the daemon's, on the broker's loop.
public final class BrokerTimer {
  private let alarm: Alarm

  init(on reactor: Reactor, _ ring: @escaping () -> Void) { alarm = Alarm(on: reactor, ring) }

  /// Runs out once, this many seconds from now.
  public func start(seconds: Double) { alarm.start(seconds: seconds) }
  public func stop() { alarm.stop() }
}
