// SPDX-License-Identifier: Apache-2.0

import System

/// Finds points in zstd data while it is decoded, and proves each by decoding the content up to the
/// next one from it; once jobs were found to start at regular places, only the first job.
///
/// `zstd --threads` compresses a frame in jobs that do not depend on each other, except for some
/// content before each, so that a point at the start of a job needs little history. The format does
/// not show where jobs start: by default, a job has four windows. Older encoders with `--rsyncable` also
/// end a job with a short block.
final class ZstdPointFinder {
  /// The blocks where a job may start.
  private enum Rule {
    /// At multiples of the size of jobs, from the start of the frame.
    case multiples
    /// After a short block, and at multiples of the size of jobs from there.
    case shortBlocks
    case any
  }

  private struct Stage {
    var rule: Rule
    /// The parts of the window to try as history: a half, a quarter, …
    var divisors: [UInt64]
  }

  private static let stages = [
    Stage(rule: .multiples, divisors: [8, 4, 2]),
    Stage(rule: .shortBlocks, divisors: [8, 4, 2]),
    Stage(rule: .any, divisors: [8, 4]),
    Stage(rule: .any, divisors: [1]),
  ]

  /// The maximum history.
  static let historyLimit: UInt64 = 16 << 20
  /// Trials at the same time.
  private static let trialLimit = 6

  private let name: String
  private let spacing: UInt64
  private let receive: (ZstdPoint, Buffer, Range<Int>) throws -> Void

  // The content so far.
  private var position: UInt64 = 0
  private var recent: Buffer
  private var recentCount = 0
  private var digest: XXH3

  // The current frame.
  private var frameStart: UInt64 = 0
  private var window: UInt64 = 0
  private var afterShortBlock: UInt64 = 0

  // What was learned about the encoder.
  private var stage = 0
  private var divisor: UInt64?
  /// Points found since it was learned.
  private var successCount = 0
  /// Content passed without any trial since the search began.
  private var searched: UInt64 = 0
  private var isSearching = true
  /// Where trials were started last.
  private var lastTrial: UInt64 = 0

  /// The last point, which is proven; its history is written already.
  private var last: ZstdPoint?
  private var lastHistory: Buffer
  private var lastHistorySize = 0
  /// The next point if it holds up to the one after it.
  private var proof: ZstdTrial?
  private var candidates: [ZstdTrial] = []
  private var spare: [ZstdTrial] = []

  private var historySizes: Set<UInt64> = []
  /// Whether content after the last point was to be proven by a point that did not hold.
  private var isLastUnproven = false
  private var pointCount = 0
  /// The numbers of points whose chunks must be decoded again to prove them.
  private(set) var unproven: [Int] = []

  /// - Parameters:
  ///   - name: of the file, for messages.
  ///   - spacing: the least distance of points in the content, in bytes; twice that if a point needs
  ///     much history.
  ///   - receive: receives each point, and its history.
  init(
    name: String, spacing: UInt64, receive: @escaping (ZstdPoint, Buffer, Range<Int>) throws -> Void
  ) throws {
    self.name = name
    self.spacing = max(spacing, 1)
    self.receive = receive
    recent = try Buffer(capacity: 0)
    lastHistory = try Buffer(capacity: 0)
    digest = try XXH3()
  }

  /// Adds the next block.
  ///
  /// - Throws: status 1 if there is no point for too long.
  func add(_ block: ZstdBlock) throws {
    if let frame = block.frame {
      try beginFrame(frame)
    } else {
      try startTrials(at: block)
    }
    proof?.test(block)
    for trial in candidates { trial.test(block) }
    digest.update(block.content, 0..<block.contentCount)
    remember(block)
    position += UInt64(block.contentCount)
    if block.contentCount < ZstdBlockHeader.largestContent { afterShortBlock = position }
    try judge()
  }

  /// Ends the content.
  func finish() throws {
    try endFrame()
    // An empty frame at the end needs no point.
    if let last, last.content < position || position == 0 { try emit(last, digest.value()) }
    last = nil
  }

  // MARK: Frames

  private func beginFrame(_ frame: ZstdBlock.Frame) throws {
    try endFrame()
    if last == nil || last?.windowByte != nil || isFarEnough {
      if let last { try emit(last, digest.value()) }
      last = ZstdPoint(stored: frame.position, content: position)
      digest.reset()
    }
    if window != frame.window {
      window = frame.window
      (stage, divisor) = (0, nil)
      // Twice, so that it rarely moves.
      recent = try Buffer(
        capacity: 2 * Int(min(window, Self.historyLimit)) + ZstdBlockHeader.largestContent)
    }
    (isSearching, searched) = (divisor == nil, 0)
    recentCount = 0
    (frameStart, afterShortBlock) = (position, position)
  }

  private func endFrame() throws {
    if let proof {
      if proof.isAlive {
        try settle(proof)
        spare.append(proof)
      } else {
        drop(proof)
      }
    }
    proof = nil
    spare += candidates
    candidates = []
  }

  // MARK: Points

  private var jobSize: UInt64 { max(4 * window, 1 << 20) }

  /// Where the newest point is that still may hold.
  private var newest: UInt64 { proof?.point.content ?? last?.content ?? 0 }

  private var isFarEnough: Bool {
    let distance = position - newest
    guard distance >= spacing else { return false }
    let history = divisor.map { window / $0 } ?? 0
    return distance >= min(64 * history, 2 * spacing)
  }

  private func isEligible(_ rule: Rule) -> Bool {
    switch rule {
    case .multiples: (position - frameStart).isMultiple(of: jobSize)
    case .shortBlocks:
      afterShortBlock > frameStart && (position - afterShortBlock).isMultiple(of: jobSize)
    case .any: true
    }
  }

  private func startTrials(at block: ZstdBlock) throws {
    // What works is found out even before a point is needed.
    guard isSearching || isFarEnough, position > frameStart, searched <= searchLimit else { return }
    let stage = Self.stages[stage]
    guard isEligible(stage.rule) else { return }
    let divisors = divisor.map { [$0] } ?? stage.divisors
    // Copying histories must not take longer than decoding, however short blocks are.
    let distance = min(window / (divisors.last ?? 1), Self.historyLimit) / 64
    guard stage.rule != .any || position >= lastTrial + distance else { return }
    lastTrial = position
    for divisor in divisors {
      let history = window / divisor
      guard history <= Self.historyLimit, candidates.count < Self.trialLimit else { continue }
      let count = Int(min(history, position - frameStart))
      guard recentCount >= count else { continue }
      let trial = try spare.popLast() ?? ZstdTrial()
      try trial.start(
        ZstdPoint(
          stored: block.position, content: position,
          windowByte: ZstdPoint.windowByte(for: window)),
        recent, recentCount - count..<recentCount)
      trial.divisor = divisor
      trial.digestsBefore = (digest.value(), proof?.digest.value() ?? 0)
      candidates.append(trial)
    }
  }

  private func judge() throws {
    if let proof, !proof.isAlive, !candidates.contains(where: { $0.point.content <= proof.end }) {
      drop(proof)
      self.proof = nil
    }
    // Jobs that were found in their places several times do not depend on what is before them.
    if let proof, proof.isAlive, isRegular, proof.end - proof.point.content >= jobSize,
      proof.evidence >= neededEvidence
    {
      proof.isEnough = true
    }
    let hadTrials = !candidates.isEmpty
    spare += candidates.filter { !$0.isAlive }
    candidates.removeAll { !$0.isAlive }
    // In ascending order: the first one needs the least history, and comes first.
    if let best = candidates.first, isConvincing(best) {
      candidates.removeFirst()
      spare += candidates
      candidates = []
      try choose(best)
    } else if isSearching || isFarEnough {
      searched += UInt64(ZstdBlockHeader.largestContent)
      let hasFailed = hadTrials && Self.stages[stage].rule == .multiples
      if candidates.isEmpty, hasFailed || searched > searchLimit { escalate() }
    }
    if position - newest > ZstdIndexedFrames.chunkLimit {
      throw Failure(
        .general,
        "\(name): cannot be indexed: decoding can start nowhere within "
          + "\(ByteCount(ZstdIndexedFrames.chunkLimit)) of data (its window is \(ByteCount(window)))"
      )
    }
  }

  /// Whether jobs start where they are expected.
  private var isRegular: Bool { successCount > 4 && Self.stages[stage].rule != .any }

  private var neededEvidence: UInt64 { max(window, 1 << 20) / 2 }

  /// Whether a trial is likely to hold up to the next point.
  private func isConvincing(_ trial: ZstdTrial) -> Bool {
    guard trial.end - trial.point.content >= 2 * neededEvidence else { return false }
    // Stored blocks show nothing, but all of the data may consist of them.
    return trial.evidence >= neededEvidence || isRegular
      || trial.end - trial.point.content >= max(2 * spacing, 64 << 20)
  }

  private func choose(_ trial: ZstdTrial) throws {
    divisor = trial.divisor
    successCount += 1
    (isSearching, searched) = (false, 0)
    let distance = trial.point.content - newest
    guard distance >= spacing else { return spare.append(trial) }
    if let proof {
      if proof.end >= trial.point.content {
        try settle(proof)
        trial.digestsBefore.last = trial.digestsBefore.proof
        spare.append(proof)
      } else {
        drop(proof)
      }
    }
    proof = trial
  }

  /// The content that a stage may pass without success.
  private var searchLimit: UInt64 {
    switch Self.stages[stage].rule {
    case .multiples: jobSize + jobSize / 4
    case .shortBlocks: afterShortBlock > frameStart ? 2 * jobSize : 0
    case .any: stage + 1 < Self.stages.count ? min(jobSize, 16 << 20) : .max
    }
  }

  /// Changes what is tried, after a search without success.
  private func escalate() {
    (searched, successCount) = (0, 0)
    if divisor != nil {
      divisor = nil
    } else if stage + 1 < Self.stages.count {
      stage += 1
    }
  }

  /// A point does not hold up to the next one: the chunk before it goes on.
  private func drop(_ trial: ZstdTrial) {
    isLastUnproven = last?.windowByte != nil
    spare.append(trial)
  }

  /// The chunk of a point is proven: it becomes the last point.
  private func settle(_ trial: ZstdTrial) throws {
    if let last { try emit(last, trial.digestsBefore.last) }
    last = trial.point
    swap(&lastHistory, &trial.history)
    lastHistorySize = trial.historySize
    swap(&digest, &trial.digest)
  }

  private func emit(_ point: ZstdPoint, _ digest: UInt128) throws {
    var point = point
    point.digest = digest
    if point.windowByte != nil { historySizes.insert(UInt64(lastHistorySize)) }
    if isLastUnproven { unproven.append(pointCount) }
    (isLastUnproven, pointCount) = (false, pointCount + 1)
    try receive(point, lastHistory, 0..<(point.windowByte == nil ? 0 : lastHistorySize))
  }

  /// What was found, for the user.
  var summary: String {
    guard let history = historySizes.max() else { return "decoding starts at frames" }
    let need = "history of \(ByteCount(history))"
    guard history < window else { return "starts of jobs not found, \(need) (the window)" }
    return switch Self.stages[stage].rule {
    case .multiples: "jobs of \(ByteCount(jobSize)), \(need)"
    case .shortBlocks: "jobs that end with short blocks, \(need)"
    case .any: "jobs without a fixed size, \(need)"
    }
  }

  /// Keeps the last bytes of the content, as far as they may be a history.
  private func remember(_ block: ZstdBlock) {
    let kept = Int(min(window, Self.historyLimit))
    // It is copied only where a trial may start soon.
    guard
      isSearching || position - newest + UInt64(kept + ZstdBlockHeader.largestContent) >= spacing
    else {
      recentCount = 0
      return
    }
    if recentCount + block.contentCount > recent.capacity {
      recent.copy(from: recent, recentCount - kept..<recentCount, to: 0)
      recentCount = kept
    }
    recent.copy(from: block.content, 0..<block.contentCount, to: recentCount)
    recentCount += block.contentCount
  }
}
