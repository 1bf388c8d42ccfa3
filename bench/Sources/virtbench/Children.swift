// The programs and files of a comparison, and their removal.
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

  /// Ends them in the order of their start, the daemons first.
  func end() {
    lock.withLock {
      for lab in labs { lab.stop() }
      for child in children { child.stop() }
      (labs, children) = ([], [])
      try? FileManager.default.removeItem(at: directory)
    }
  }

  /// An interrupted comparison ends its programs, including one that is just being started: after the comparison has
  /// had time to stop, programs added meanwhile are ended too.
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

  /// Blocks forever once a signal has arrived: later failures are caused by the ended daemons and are not reported.
  func holdIfInterrupted() {
    guard lock.withLock({ isInterrupted }) else { return }
    lock.withLock { isHeld = true }
    while true { pause() }
  }
}
