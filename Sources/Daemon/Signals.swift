// The meaning of the signals: TERM, INT and QUIT stop the daemon, HUP reloads the configuration, USR1 logs what the
// daemon is doing, PIPE is ignored.
import Broker
@preconcurrency import Glibc
import Streams

/// Unblocks signals that the starter may have blocked: without TERM the daemon could not be stopped.
func unblockSignals() {
  var none = sigset_t()
  sigemptyset(&none)
  sigprocmask(SIG_SETMASK, &none, nil)
}

extension Broker {
  /// The first TERM, INT or QUIT drains the broker. A second one stops it at once: the administrator does not want to
  /// wait for outstanding replies.
  func obeySignals(_ reloading: Reloading, _ manager: ServiceManager?, log: BrokerLog) {
    signal(SIGPIPE, SIG_IGN)
    var isStopping = false
    for (number, name) in [(SIGTERM, "TERM"), (SIGINT, "INT"), (SIGQUIT, "QUIT")] {
      // The broker keeps the closure, so the closure must not own the broker.
      onSignal(number) { [unowned self] in
        if isStopping {
          log.write(.stopSignalAgain, [name])
        } else {
          log.write(.stopSignal, [name])
        }
        isStopping = true
        stop()
      }
    }
    onSignal(SIGHUP) { [unowned self, unowned reloading] in
      guard !isStopping else { return log.write(.reloadWhileStopping) }
      manager?.reloading()
      reloading.reload(because: Message(.reloadBySignal))
      manager?.reloaded(self)
    }
    onSignal(SIGUSR1) { [unowned self] in
      // Severity warning: the default level shows nothing below it.
      for message in stateReport { log.answer(message) }
    }
  }
}
