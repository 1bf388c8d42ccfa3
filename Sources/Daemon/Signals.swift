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
      // Its severity is warning: the usual level shows nothing below.
      for message in stateReport { log.answer(message) }
    }
  }
}
