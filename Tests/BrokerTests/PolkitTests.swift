// Authorization by polkit: the request and every possible reply, with a scripted authority.
import Glibc
import Streams
import Testing

@testable import Broker

@Suite("Polkit authorization", .serialized)
struct PolkitTests {
  private let scratch: Scratch
  private let reactor: Reactor
  private let log = BrokerLog(threshold: .error) { _, _ in }
  private let subject = PolkitSubject(pid: 4711, startTime: 1 << 40, uid: 1000)

  init() throws {
    scratch = try Scratch()
    reactor = try Reactor()
  }

  /// Runs the loop until the condition holds, at most for a fixed time.
  private func run(until holds: @escaping () -> Bool) {
    var rounds = 0
    var alarm: Alarm?
    alarm = Alarm(on: reactor) { [reactor] in
      rounds += 1
      if holds() || rounds > 1000 { reactor.stop() } else { alarm?.start(seconds: 0.01) }
    }
    alarm?.start(seconds: 0.01)
    reactor.run()
    alarm = nil
  }

  private func verdict(_ answer: ScriptedAuthority.Answer) throws -> (
    PolkitResult?, ScriptedAuthority
  ) {
    let authority = try ScriptedAuthority(at: scratch.path + "/bus", answer)
    defer { authority.end() }
    let polkit = PolkitAuthority(on: reactor, log: log)
    var verdict: PolkitResult?
    _ = polkit.check(subject, action: "org.libvirt.unix.manage") { verdict = $0 }
    #expect(verdict == nil, "never before the check is in the asker's hands")
    run { verdict != nil }
    return (verdict, authority)
  }

  @Test(
    "the request is libvirt's: it names the process, has no details, and allows user interaction")
  func question() throws {
    let (verdict, authority) = try verdict(.verdict(granted: true, challenge: false, details: [:]))
    #expect(verdict == .granted)
    var expected = ScriptedAuthority.Question()
    expected.kind = "unix-process"
    expected.subject = ["pid": 4711, "start-time": 1 << 40, "uid": 1000]
    expected.action = "org.libvirt.unix.manage"
    expected.flags = 1
    expected.name = authority.questions.first?.name ?? ""
    #expect(authority.questions == [expected])
    #expect(!expected.name.isEmpty, "it can be cancelled")
  }

  @Test(
    "each reply gives its own result, and only one of them grants access",
    arguments: [
      (.verdict(granted: false, challenge: false, details: [:]), .denied),
      (.verdict(granted: false, challenge: true, details: [:]), .noAgent),
      (
        .verdict(granted: false, challenge: true, details: ["polkit.dismissed": "true"]), .dismissed
      ),
      (
        .verdict(
          granted: false, challenge: false, details: ["x": "true", "polkit.dismissed": "true"]),
        .dismissed
      ),
      (.verdict(granted: false, challenge: true, details: ["polkit.dismissed": ""]), .noAgent),
      (.verdict(granted: true, challenge: false, details: ["polkit.dismissed": "x"]), .granted),
      (.nonsense, .failed(Message(.polkitAnswerNotDecoded))),
      (
        .error("org.test.No"),
        .failed(Message(.polkitError, ["org.test.No", "as the test wants it"]))
      ),
    ] as [(ScriptedAuthority.Answer, PolkitResult)])
  func answers(answer: ScriptedAuthority.Answer, expected: PolkitResult) throws {
    #expect(try verdict(answer).0 == expected)
  }

  @Test("the client's error has libvirt's codes")
  func errors() {
    #expect(
      PolkitResult.denied.error("a").message == "authentication failed: access denied by policy")
    #expect(PolkitResult.noAgent.error("a").code == .authenticationUnavailable)
    #expect(PolkitResult.dismissed.error("a").code == .authenticationCancelled)
    #expect(
      PolkitResult.failed(Message(.systemBusLost, ["secret"])).error("a").message?.contains(
        "secret")
        == false)
    for verdict in [
      PolkitResult.denied, .noAgent, .dismissed, .failed(Message(.polkitAnswerNotDecoded)),
    ] {
      #expect(verdict.error("a").domain == .polkit)
    }
  }

  @Test("a lost bus connection fails its pending check; the next check uses the new connection")
  func lost() throws {
    let (verdict, _) = try verdict(.hangUp)
    guard case .failed = verdict else {
      Issue.record("\(String(describing: verdict))")
      return
    }
    unlink(scratch.path + "/bus")
    let polkit = PolkitAuthority(on: reactor, log: log)
    var verdicts: [PolkitResult] = []
    _ = polkit.check(subject, action: "a") { verdicts.append($0) }
    run { verdicts.count == 1 }
    guard case .failed = verdicts.first else {
      Issue.record("there is no bus")
      return
    }
    let authority = try ScriptedAuthority(
      at: scratch.path + "/bus", .verdict(granted: true, challenge: false, details: [:]))
    defer { authority.end() }
    _ = polkit.check(subject, action: "a") { verdicts.append($0) }
    run { verdicts.count == 2 }
    #expect(verdicts.last == .granted)
  }

  @Test("a cancelled check reports nothing and is cancelled at polkit too")
  func cancelled() throws {
    let authority = try ScriptedAuthority(at: scratch.path + "/bus", .silence)
    defer { authority.end() }
    let polkit = PolkitAuthority(on: reactor, log: log)
    let check = polkit.check(subject, action: "a") { _ in Issue.record("nobody is there") }
    run { !authority.questions.isEmpty }
    polkit.cancel(check)
    run { !authority.cancellations.isEmpty }
    #expect(authority.cancellations == authority.questions.map(\.name))
  }

  @Test("a hundred concurrent checks each get their own reply")
  func many() throws {
    let authority = try ScriptedAuthority(
      at: scratch.path + "/bus", .verdict(granted: true, challenge: false, details: [:]))
    defer { authority.end() }
    let polkit = PolkitAuthority(on: reactor, log: log)
    var told = Set<Int>()
    for number in 0..<100 {
      _ = polkit.check(subject, action: "a\(number)") { verdict in
        #expect(verdict == .granted)
        #expect(told.insert(number).inserted)
      }
    }
    run { told.count == 100 }
    #expect(told.count == 100)
    #expect(Set(authority.questions.map(\.action)).count == 100)
  }
}
