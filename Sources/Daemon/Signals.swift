// What the signals mean: TERM, INT and QUIT end the daemon, HUP reads its configuration again, USR1 asks what it is
// doing, PIPE is nothing.
import Broker
@preconcurrency import Glibc
import Streams

/// Undoes what the starter may have blocked: a TERM that never arrives is a daemon that never ends.
func unblockSignals() {
  var none = sigset_t()
  sigemptyset(&none)
  sigprocmask(SIG_SETMASK, &none, nil)
}

extension Broker {
  /// Stops on the first TERM, INT or QUIT, in order. A second one ends what is still under way: who
  /// asks twice does not want to wait for replies in flight.
  func obeySignals(_ reloading: Reloading, _ manager: ServiceManager?, log: BrokerLog) {
    signal(SIGPIPE, SIG_IGN)
    var isStopping = false
    for (number, name) in [(SIGTERM, "TERM"), (SIGINT, "INT"), (SIGQUIT, "QUIT")] {
      // The broker keeps the closure, so the closure must not keep the broker.
      onSignal(number) { [unowned self] in
        if isStopping {
          log.warning("signal \(name) again: ending at once")
        } else {
          log.info("signal \(name): stopping")
        }
        isStopping = true
        stop()
      }
    }
    onSignal(SIGHUP) { [unowned self, unowned reloading] in
      guard !isStopping else { return log.info("signal HUP: stopping already, nothing is read") }
      manager?.reloading()
      reloading.reload(because: "of signal HUP")
      manager?.reloaded(self)
    }
    onSignal(SIGUSR1) { [unowned self] in
      // Whoever sends it wants to see the answer, and the usual level shows nothing below a warning.
      for line in stateReport { log.answer(.warning, line) }
    }
  }
}
