// What a comparison starts and makes, and how all of it ends.
import Dispatch
import Ends
import Foundation

/// The programs and files of one comparison, which must not outlive it.
final class Children: @unchecked Sendable {
  private let lock = NSLock()
  private var children: [Child] = []
  private var labs: [Lab] = []
  private let directory: URL
  private var isInterrupted = false
  private var isHeld = false
  private var sources: [any DispatchSourceSignal] = []

  init(_ directory: URL) { self.directory = directory }

  func add(_ child: Child) {
    lock.withLock { children.append(child) }
    holdIfInterrupted()
  }

  func add(_ lab: Lab) {
    lock.withLock { labs.append(lab) }
    holdIfInterrupted()
  }

  /// Ends them in the order they were started, the daemons first.
  func end() {
    lock.withLock {
      for lab in labs { lab.stop() }
      for child in children { child.stop() }
      (labs, children) = ([], [])
      try? FileManager.default.removeItem(at: directory)
    }
  }

  /// A comparison that is interrupted takes its programs with it, also one that was just being
  /// started: the comparison gets time to come to a halt, and then whatever it added goes too.
  func endOnSignals() {
    for number in [SIGINT, SIGTERM, SIGHUP] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { [unowned self] in
        lock.withLock { isInterrupted = true }
        end()
        for _ in 0..<1500 where !lock.withLock({ isHeld }) { usleep(10_000) }
        end()
        exit(128 + number)
      }
      source.resume()
      sources.append(source)
    }
  }

  /// Never returns once a signal has come: what fails from then on fails because its daemon is
  /// being ended, and is nothing to report.
  func holdIfInterrupted() {
    guard lock.withLock({ isInterrupted }) else { return }
    lock.withLock { isHeld = true }
    while true { pause() }
  }
}
