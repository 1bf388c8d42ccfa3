// The configuration, read again while clients are connected.
import Broker
@preconcurrency import Glibc
import Streams

/// What the running daemon goes by, and how it changes.
final class Reloading {
  private let daemon: Daemon
  private let log: LogBook
  private unowned let broker: Broker
  /// What the daemon listens on, which stays.
  private let sockets: (names: SocketNames, activation: Activation?)
  /// What is in force. Of keys that cannot change it keeps what the daemon was started with.
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
      // Who has moved files away expects new ones all the same.
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

  /// Files are opened anew even if nothing has changed, as whoever has moved them away expects. A file that could
  /// be opened once and cannot now is then no reason to refuse the rest.
  private func reopenLog(_ next: Configuration, hasChanged: Bool) throws(StartFailure) {
    let usual = daemon.usualLogDestination()
    do throws(StartFailure) {
      let plan = try daemon.logPlan(next, usual: usual)
      // What an administrator has set since by other means is theirs until the file says something new.
      if hasChanged { try log.follow(plan, usual: usual) } else { try log.reopen() }
    } catch {
      guard !hasChanged else { throw error }
      log[.configuration].write(.logFileKept, [Message(joining: error.messages)])
    }
  }
}
