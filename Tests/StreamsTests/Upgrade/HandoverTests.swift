// Every order of events of a handover, with either process killed at any step.
import Testing

@testable import Streams

@Suite("handover")
struct HandoverTests {
  /// Both processes, and what is under way between them.
  struct World: Hashable {
    var giver = HandoverGiver(versions: 1...2)
    var taker = HandoverTaker(versions: 1...1)
    var isGiverAlive = true
    var isTakerAlive = true
    var toTaker: [HandoverMessage] = []
    var toGiver: [HandoverMessage] = []
    /// What the hosts still have to do.
    var mustFreeze = false
    var mustRestore = false
    var isGoneReported = false
    var isClosedReported = false
    /// Somebody was killed, or something failed.
    var hasFailed = false
    var isReleased = false
    var thaws = 0
    var freezes = 0

    static let batches = 2

    mutating func give(_ event: HandoverGiver.Event) {
      for action in giver.handle(event) {
        switch action {
        case .freeze:
          mustFreeze = true
          freezes += 1
        case .send(let message): toTaker.append(message)
        case .kill: isTakerAlive = false
        case .thaw: thaws += 1
        case .release: isReleased = true
        }
      }
    }

    mutating func take(_ event: HandoverTaker.Event) {
      for action in taker.handle(event) {
        switch action {
        case .send(let message): toGiver.append(message)
        case .restore: mustRestore = true
        case .begin: break
        case .exit: isTakerAlive = false
        }
      }
    }

    /// Who uses the sessions' sockets.
    var owners: Int {
      (isGiverAlive && giver.isOwner ? 1 : 0) + (isTakerAlive && taker.isOwner ? 1 : 0)
    }
    /// Who has the sessions' descriptors open.
    var holders: Int {
      let taken = isTakerAlive && (taker.isOwner || taker.state == .awaitsCommit || mustRestore)
      return (isGiverAlive && !isReleased ? 1 : 0) + (taken ? 1 : 0)
    }

    /// What can happen next. `faults`: also deaths, failures and the end of the time.
    func successors(faults: Bool) -> [World] {
      var next: [World] = []
      func then(isFault: Bool = false, _ change: (inout World) -> Void) {
        var world = self
        change(&world)
        if isFault { world.hasFailed = true }
        next.append(world)
      }
      if isTakerAlive {
        if taker.state == .preparing { then { $0.take(.prepared) } }
        if mustRestore {
          then {
            $0.mustRestore = false
            $0.take(.restored)
          }
        }
        if let message = toTaker.first {
          then {
            $0.toTaker.removeFirst()
            $0.take(.message(message))
          }
        } else if !isGiverAlive {
          then { $0.take(.channelClosed) }
        }
      }
      if isGiverAlive {
        if mustFreeze {
          then {
            $0.mustFreeze = false
            $0.give(.frozen(batches: World.batches))
          }
        }
        if let message = toGiver.first {
          then {
            $0.toGiver.removeFirst()
            $0.give(.message(message))
          }
        } else if !isTakerAlive, !isClosedReported {
          then {
            $0.isClosedReported = true
            $0.give(.channelClosed)
          }
        }
        if !isTakerAlive, !isGoneReported {
          then {
            $0.isGoneReported = true
            $0.give(.takerGone)
          }
        }
      }
      guard faults, !hasFailed else { return next }
      if isGiverAlive { then(isFault: true) { $0.isGiverAlive = false } }
      if isTakerAlive {
        then(isFault: true) { $0.isTakerAlive = false }
        if taker.state == .preparing || mustRestore {
          then(isFault: true) { $0.take(.failed("bad configuration")) }
        }
      }
      if isGiverAlive {
        then(isFault: true) { $0.give(.timeUp) }
        if mustFreeze {
          then(isFault: true) {
            $0.mustFreeze = false
            $0.give(.cannotWrite("too much"))
          }
        }
      }
      return next
    }
  }

  /// All worlds that can be reached.
  func explore(faults: Bool, _ check: (World) -> Void) -> [World] {
    var known: Set<World> = [World()]
    var open = [World()]
    var final: [World] = []
    while let world = open.popLast() {
      check(world)
      let next = world.successors(faults: faults)
      if next.isEmpty { final.append(world) }
      for successor in next where known.insert(successor).inserted { open.append(successor) }
    }
    return final
  }

  @Test("without faults the sessions pass to the new process")
  func usual() {
    let final = explore(faults: false) { world in
      #expect(world.owners <= 1)
      #expect(world.holders >= 1)
    }
    #expect(!final.isEmpty)
    for world in final {
      #expect(world.giver.state == .given && world.taker.state == .owns && world.isReleased)
    }
  }

  @Test(
    "whoever is killed at any step, there are never two owners, and never no holder while one of them lives that could"
  )
  func faults() {
    var steps: Set<HandoverGiver.State> = []
    let final = explore(faults: true) { world in
      steps.insert(world.giver.state)
      #expect(world.owners <= 1, "\(world)")
      // The old process keeps everything open until the new one has said that it is ready.
      if world.isGiverAlive, !world.isReleased { #expect(world.holders >= 1) }
      if world.isReleased, !world.hasFailed { #expect(world.isTakerAlive && world.holders == 1) }
    }
    #expect(steps.count > 8)
    for world in final {
      let wasReady = world.taker.state == .owns
      if world.isGiverAlive, !world.isReleased {
        // As if nothing had happened.
        #expect(world.giver.isOwner && world.thaws == world.freezes, "\(world)")
      } else if world.isTakerAlive {
        #expect(wasReady || !world.isGiverAlive, "\(world)")
      }
      // A giver that dies before the new process is ready takes the sessions with it, as without a handover.
      if !world.isGiverAlive, world.isTakerAlive { #expect(wasReady, "\(world)") }
    }
  }

  @Test("a version that one of them does not know is refused before anything is frozen")
  func versions() {
    var giver = HandoverGiver(versions: 2...3)
    #expect(giver.handle(.message(.hello(1...2))) == [.freeze(version: 2)])
    giver = HandoverGiver(versions: 2...3)
    #expect(giver.handle(.message(.hello(4...5))) == [.kill])
    #expect(giver.isOwner)
    #expect(giver.handle(.takerGone).isEmpty)
    #expect(giver.state == .kept(.versions(4...5)))
  }

  @Test("a message out of order ends it, and the sessions stay")
  func disorder() {
    let all: [HandoverMessage] = [
      .hello(1...1), .snapshot(batches: 1), .descriptors(0), .received(1), .ready, .commit,
    ]
    for message in all {
      var giver = HandoverGiver(versions: 1...1)
      _ = giver.handle(.message(.hello(1...1)))
      _ = giver.handle(.frozen(batches: 1))
      #expect(giver.handle(.message(message)) == [.kill], "\(message)")
      #expect(!giver.isOwner, "the other process may still live")
      #expect(giver.handle(.takerGone) == [.thaw])
      #expect(giver.isOwner)
    }
    for message in all where message != .snapshot(batches: 1) {
      var taker = HandoverTaker(versions: 1...1)
      _ = taker.handle(.prepared)
      _ = taker.handle(.message(message))
      guard case .over = taker.state else {
        Issue.record("\(message) is accepted")
        continue
      }
    }
  }
}
