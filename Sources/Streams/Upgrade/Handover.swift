// How sessions pass from one process to the next, and who owns them meanwhile.

/// A message between the two processes, in the order in which they are sent.
///
///     giver                                    taker
///       │  ◀── hello ─────────────────────────── │  it has read its configuration
///       │  ─── snapshot ───────────────────────▶ │  the giver is frozen
///       │  ─── descriptors 0 ──────────────────▶ │
///       │  ◀── received 0 ────────────────────── │  … and so on
///       │  ◀── ready ─────────────────────────── │  all of it is restored and checked
///       │  ─── commit ─────────────────────────▶ │  the taker owns the sessions
///
public enum HandoverMessage: Hashable, Sendable {
  /// The versions of snapshots that the taker reads.
  case hello(ClosedRange<UInt32>)
  /// The state, and the number of messages with its descriptors.
  case snapshot(batches: Int)
  case descriptors(Int)
  case received(Int)
  case ready
  /// The taker cannot take over, for this reason.
  case refused(String)
  case commit
}

/// Why sessions stay where they are.
public enum HandoverFailure: Hashable, Sendable {
  /// The new process did not answer in time, or does not end its restoring in time.
  case timeUp
  case refused(String)
  /// It ended, or closed the channel.
  case ended
  /// It reads none of the versions that this process writes.
  case versions(ClosedRange<UInt32>)
  /// It sent something else than the protocol has at that place.
  case unexpectedMessage
}

/// The process that has the sessions. It owns them until it sends `commit`.
///
/// If anything fails before that, it kills the other process, waits for its exit, and serves the sessions again. So the
/// two processes never use a socket at the same time. It keeps its end of the channel open until then, because a taker that
/// is ready takes the end of the channel for the death of the giver.
public struct HandoverGiver: Hashable, Sendable {
  public enum State: Hashable, Sendable {
    case awaitsHello
    /// The sessions are frozen, and the host writes them.
    case freezing
    case awaitsReceipt(batch: Int, of: Int)
    case awaitsReady
    /// The other process is being ended.
    case withdrawing(HandoverFailure, isFrozen: Bool)
    /// The other process owns the sessions.
    case given
    /// The sessions stayed.
    case kept(HandoverFailure)
  }

  public enum Event: Hashable, Sendable {
    case message(HandoverMessage)
    /// The host has frozen and written the sessions.
    case frozen(batches: Int)
    /// The host cannot write them.
    case cannotWrite(String)
    /// The taker's end of the channel is closed.
    case channelClosed
    /// The process of the taker has ended, and the kernel has closed what it had.
    case takerGone
    case timeUp
  }

  public enum Action: Hashable, Sendable {
    /// Nothing of the sessions is read or sent from now on.
    case freeze(version: UInt32)
    case send(HandoverMessage)
    /// Ends the other process at once, whatever it does.
    case kill
    /// This process reads and sends again.
    case thaw
    /// The sessions are the other process's: they are forgotten here.
    case release
  }

  public private(set) var state = State.awaitsHello
  /// The versions of snapshots that this process can write.
  let versions: ClosedRange<UInt32>

  public init(versions: ClosedRange<UInt32>) { self.versions = versions }

  /// This process may use the sessions' sockets.
  public var isOwner: Bool {
    switch state {
    case .awaitsHello, .kept, .withdrawing(_, isFrozen: false): true
    case .freezing, .awaitsReceipt, .awaitsReady, .withdrawing, .given: false
    }
  }

  public var isOver: Bool {
    switch state {
    case .given, .kept: true
    default: false
    }
  }

  public mutating func handle(_ event: Event) -> [Action] {
    switch (state, event) {
    case (.given, _), (.kept, _): return []
    case (.withdrawing(let failure, let isFrozen), .takerGone):
      state = .kept(failure)
      return isFrozen ? [.thaw] : []
    case (.withdrawing, _): return []
    case (_, .takerGone): return end(.ended, isTakerGone: true)
    case (_, .channelClosed): return end(.ended)
    case (_, .timeUp): return end(.timeUp)
    case (_, .message(.refused(let reason))): return end(.refused(reason))
    case (_, .cannotWrite(let reason)): return end(.refused(reason))
    case (.awaitsHello, .message(.hello(let theirs))):
      let newest = min(theirs.upperBound, versions.upperBound)
      guard newest >= max(theirs.lowerBound, versions.lowerBound) else {
        return end(.versions(theirs))
      }
      state = .freezing
      return [.freeze(version: newest)]
    case (.freezing, .frozen(let batches)):
      let messages: [Action] = [.send(.snapshot(batches: batches))]
      guard batches > 0 else {
        state = .awaitsReady
        return messages
      }
      state = .awaitsReceipt(batch: 0, of: batches)
      return messages + [.send(.descriptors(0))]
    case (.awaitsReceipt(let batch, let count), .message(.received(let number)))
    where number == batch:
      guard batch + 1 < count else {
        state = .awaitsReady
        return []
      }
      state = .awaitsReceipt(batch: batch + 1, of: count)
      return [.send(.descriptors(batch + 1))]
    case (.awaitsReady, .message(.ready)):
      state = .given
      return [.send(.commit), .release]
    case (_, .message), (_, .frozen): return end(.unexpectedMessage)
    }
  }

  private mutating func end(_ failure: HandoverFailure, isTakerGone: Bool = false) -> [Action] {
    let isFrozen = !isOwner
    guard isTakerGone else {
      state = .withdrawing(failure, isFrozen: isFrozen)
      return [.kill]
    }
    state = .kept(failure)
    return isFrozen ? [.thaw] : []
  }
}

/// The process that takes the sessions over. It owns them once it has received `commit`, or when the giver has died while
/// this process was ready.
public struct HandoverTaker: Hashable, Sendable {
  public enum State: Hashable, Sendable {
    /// It reads its configuration.
    case preparing
    case awaitsSnapshot
    case receiving(batch: Int, of: Int)
    /// The host restores the sessions, without using them.
    case restoring
    case awaitsCommit
    case owns
    case over(String)
  }

  public enum Event: Hashable, Sendable {
    case prepared
    case message(HandoverMessage)
    case restored
    /// The host could not prepare or restore, for this reason.
    case failed(String)
    /// The giver's end of the channel is closed.
    case channelClosed
  }

  public enum Action: Hashable, Sendable {
    case send(HandoverMessage)
    case restore
    /// The sessions are this process's.
    case begin
    /// The process ends, and uses nothing of what it has received.
    case exit(String)
  }

  public private(set) var state = State.preparing
  let versions: ClosedRange<UInt32>

  /// - Parameter versions: the versions of snapshots that this process reads.
  public init(versions: ClosedRange<UInt32>) { self.versions = versions }

  /// This process may use the sessions' sockets.
  public var isOwner: Bool { state == .owns }

  public mutating func handle(_ event: Event) -> [Action] {
    switch (state, event) {
    case (.owns, _), (.over, _): return []
    case (.preparing, .prepared):
      state = .awaitsSnapshot
      return [.send(.hello(versions))]
    case (.awaitsSnapshot, .message(.snapshot(let batches))):
      guard batches > 0 else {
        state = .restoring
        return [.restore]
      }
      state = .receiving(batch: 0, of: batches)
      return []
    case (.receiving(let batch, let count), .message(.descriptors(let number)))
    where number == batch:
      guard batch + 1 < count else {
        state = .restoring
        return [.send(.received(batch)), .restore]
      }
      state = .receiving(batch: batch + 1, of: count)
      return [.send(.received(batch))]
    case (.restoring, .restored):
      state = .awaitsCommit
      return [.send(.ready)]
    case (.awaitsCommit, .message(.commit)), (.awaitsCommit, .channelClosed):
      state = .owns
      return [.begin]
    // The giver's end is noticed again once the sessions are restored.
    case (.restoring, .channelClosed): return []
    case (_, .failed(let reason)):
      state = .over(reason)
      return [.send(.refused(reason)), .exit(reason)]
    case (_, .channelClosed):
      state = .over("")
      return [.exit("")]
    case (_, .message), (_, .prepared), (_, .restored):
      state = .over("")
      return [.send(.refused("unexpected message")), .exit("")]
    }
  }
}
