"""Who may enter a machine, judged by the machine. Only `device.gate` and `keyholder` import this.

A session is four signed documents, each naming the hashes of those before it:

    request   a requester asks: this machine, these scopes, so long, because; his session key
    offer     the machine answers: a nonce, its session key, its boot, its walls
    grant     the owner's approvers say yes to that request and that offer, and to nothing else
    receipt   the machine says what was done and how it ended

Besides them: a **stop** ends a session or refuses a request; a **beat** says that somebody
watches; a **denial** is the machine's signed no, with the first rule that was broken.

1. A request is signed by a key that the policy in force names as a requester's, or by somebody to
   whom such a requester delegated less (`trust.delegation`).
2. A grant names its request, its offer and the policy in force by their hashes. The offer is one
   that this machine made in this boot and that nobody has used: it lives in memory, and its
   private key with it, so that no reboot, restart or copied disk can serve it again.
3. A grant can only narrow: its scopes are among the request's, its length is not longer, and the
   rules in force permit each of them.
4. The threshold counts people. For several scopes the highest counts. Who asks does not
   count, nor who sent him.
5. Ports on the policy's list `never_ports` are never opened as raw bytes or as pages.
6. Wall time only narrows: `not_before` and `not_after` can refuse. The length is measured by the
   caller on a clock that nobody sets.
7. Past the lease of the owner's head nothing is granted.
8. A request and its grant say `break_glass` both or neither. What says so is judged by the policy's
   break-glass rules alone, by two people or more; that somebody pressed at the machine besides is
   the caller's duty.
9. What one signature serves for, no other does: every type has its own prefix (see `envelope`).

9. What was allowed ahead (`standing`) opens once in each of its windows, by an `entry` that the
   requester signs, at a time that the machine can be sure of.

Reading order: `request`, `offer`, `grant`, `ending`, `report`, `standing`, `entry`.
"""
