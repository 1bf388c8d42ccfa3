// Reloading the configuration while clients are connected.
import Broker
@preconcurrency import Glibc
import Streams

/// The configuration of the running daemon, and its reload.
final class Reloading {
  private let daemon: Daemon
  private let log: LogBook
  private unowned let broker: Broker
  /// The sockets the daemon listens on; a reload does not change them.
  private let sockets: (names: SocketNames, activation: Activation?)
  /// The configuration in effect. Keys that need a restart keep their value from the start.
  private(set) var running: Configuration

  init(
    _ running: Configuration, of daemon: Daemon, on broker: Broker,
    sockets: (names: SocketNames, activation: Activation?), log: LogBook
  ) {
    self.running = running
    self.daemon = daemon
    self.broker = broker
    self.sockets = sockets
    self.log = log
  }

  /// Reads the file and takes into use what can change. A file with an error in it changes nothing.
  func reload(because reason: Message) {
    let told = log[.configuration]
    do throws(StartFailure) {
      let (read, diagnostics) = try daemon.loadConfiguration()
      if let failure = diagnostics.failure { throw failure }
      for diagnostic in diagnostics where diagnostic.severity == .warning {
        told.report(diagnostic)
      }
      var next = read
      let changed = ConfigurationKey.changed(from: running, to: read)
      let fixed = changed.filter { !$0.isLive }
      for key in fixed { key.keep(running, &next) }
      let settings = try next.settings(
        places: daemon.places, names: sockets.names, idleSeconds: daemon.options.timeoutSeconds,
        activation: sockets.activation)
      try reopenLog(next, hasChanged: changed.contains { $0.name.hasPrefix("log_") })
      running = next
      let isWhole = broker.adopt(settings, because: reason)
      let live = changed.filter(\.isLive).map(\.name)
      if live.isEmpty {
        told.write(.configurationUnchanged)
      } else {
        told.write(.configurationReloaded, [live.joined(separator: ", ")])
      }
      if !fixed.isEmpty {
        told.write(.restartNeeded, [fixed.map(\.name).joined(separator: ", ")])
      }
      if !isWhole { told.write(.tlsSettingsKept) }
    } catch {
      told.write(.reloadFailed, [Message(joining: error.messages)])
      // An administrator who has moved the files away expects new ones even if the reload fails.
      reopenFiles()
    }
  }

  private func reopenFiles() {
    do throws(StartFailure) {
      try log.reopen()
    } catch {
      log[.configuration].write(.logFileKept, [Message(joining: error.messages)])
    }
    broker.reopenFiles()
  }

  /// Opens the files anew even if nothing has changed: an administrator who has moved them away expects that. If no key
  /// of the log has changed, a file that cannot be opened is no reason to refuse the other keys.
  private func reopenLog(_ next: Configuration, hasChanged: Bool) throws(StartFailure) {
    let usual = daemon.usualLogDestination()
    do throws(StartFailure) {
      let plan = try daemon.logPlan(next, usual: usual)
      // An administrator may have changed the log at run time. That stays until the file has new values.
      if hasChanged { try log.follow(plan, usual: usual) } else { try log.reopen() }
    } catch {
      guard !hasChanged else { throw error }
      log[.configuration].write(.logFileKept, [Message(joining: error.messages)])
    }
  }
}
