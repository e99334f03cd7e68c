// V17: how old a pack is. With witnesses, as old as the latest time at which a quorum had cosigned; without, as old as its
// last receipt says, which is the operator's word. What says no time is too old. Times in their one form compare as text.
helm.age = (() => {
  "use strict";

  // `last`: `at` of the last receipt, or null. Null, or what is wrong.
  function faultOf({ maxAgeS, now, policy, notes, isPart }, last) {
    const time = policy !== null ? notes.seen.until : isPart ? null : last;
    if (time === null) return "nothing says when the pack was made";
    const oldest = new Date(now - maxAgeS * 1000).toISOString();
    return time < oldest ? `the pack is of ${time}, and older than ${oldest}` : null;
  }

  return { faultOf };
})();
