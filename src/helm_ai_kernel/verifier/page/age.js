// V17: how old a pack is. With witnesses, as old as the latest time at which a quorum had cosigned; without, as old as its
// last receipt says, which is the operator's word. What says no time is too old.
helm.age = (() => {
  "use strict";

  // `last`: `at` of the last receipt, or null. Null, or what is wrong.
  function faultOf({ maxAgeS, now, policy, notes, isPart }, last) {
    const time = policy !== null ? notes.seen.until : isPart ? null : last;
    const made = time === null ? null : milliseconds(time);
    if (made === null) return "nothing says when the pack was made";
    return now - made > maxAgeS * 1000 ? `the pack is of ${time}, and more than ${maxAgeS} seconds old` : null;
  }

  // Null for a day that no calendar has.
  function milliseconds(time) {
    const parsed = new Date(time);
    return Number.isNaN(parsed.getTime()) || parsed.toISOString() !== time ? null : parsed.getTime();
  }

  return { faultOf };
})();
