#!/usr/bin/env python3
"""asp_trust.py FILE: recomputes trust/1 from __asp.evidence as `npayload consume --json` prints it; prints each agent's external and internal score."""
import json, math, sys; from collections import defaultdict
ONE, M, EARNED, HALF, HANDED, MUTUAL, SAT, MOST = 1 << 16, 10**6, 65536 * 9 // 10, 2 << 16, 2 << 16, 8 << 16, 10 << 16, 2**32 - 1
WEIGHT, ROOTS = [0] + [ONE << k for k in range(5)], [math.isqrt(1 << 119)]  # by severity; 2^-(1/2), 2^-(1/4), ...
for _ in range(15): ROOTS.append(math.isqrt(ROOTS[-1] << 60))
def power(of, all_):  # 2^-(of / all), 60 binary places
    x = (of << 16) // all_; left = (1 << 60) >> (x >> 16)
    for k in range(16):
        if x & (0x8000 >> k): left = left * ROOTS[k] >> 60
    return left
class Moment:
    def __init__(self, hours, half): self.period, into = divmod(hours, half); self.growth, self.left = power(half - into, half) >> 27, power(into, half) >> 28
class Counter:
    def __init__(self): self.n, self.period = 0, 0
    def add(self, more, at): self.n, self.period = min(MOST, (self.n >> (at.period - self.period)) + (more * at.growth >> 32)), at.period
    def read(self, at): return (self.n >> (at.period - self.period)) * at.left >> 32
    def recount(self, old, new): left = self.read(old); self.n = self.period = 0; self.add(left, new)
def held(by): by.append(Counter()); return by[-1]
counters, recents, hour, half, computed, due, changes, edges, now, soon = [], [], None, 720, 0, False, 0, 0, None, None
new, verified, credibility, home = (lambda: held(counters)), {0}, defaultdict(int, {0: ONE}), {}
pairs = defaultdict(lambda: defaultdict(lambda: defaultdict(new)))  # agent, organisation: good, bad, praise, blame, answered, missed
custom, good_of, bad_of = defaultdict(lambda: defaultdict(new)), defaultdict(new), defaultdict(new)
dismissed, upheld, recent = defaultdict(new), defaultdict(new), defaultdict(lambda: [held(recents) for _ in range(4)])
def saturated(w): return SAT * w // (SAT + w)
def earned(w): return EARNED * w // (HALF + w)
def left_of(a, b): return MUTUAL - min(custom[a][b].read(now) if b in custom[a] else 0, custom[b][a].read(now) if a in custom[b] else 0, MUTUAL)
def compute():
    orgs = verified | {o for of in (credibility, custom, dismissed, upheld, *custom.values()) for o in of}
    candour = {o: ONE * SAT // (SAT + max(0, dismissed[o].read(now) - upheld[o].read(now))) for o in orgs}; said, direct, handed = defaultdict(int), defaultdict(int), []
    for a in orgs:
        for o in list(custom[a]):
            f = custom[a][o].read(now); said[o] += f
            if a in verified: continue
            if o in verified: direct[a] += saturated(f) * candour[o] // ONE
            else: handed.append((a, o, saturated(f * left_of(a, o) // MUTUAL)))
    first = {o: earned(direct[o]) * candour[o] // ONE for o in orgs}
    for a, o, w in handed:
        if said[o] > 0: direct[a] += w * first[o] // ONE * min(HANDED, said[o]) // said[o]
    for o in orgs:
        c = (ONE if o in verified else earned(direct[o])) * candour[o] // ONE; credibility[o] = c if c >= ONE // 20 else 0
def add(agent, org, by, **more):
    global changes, edges; home[agent], c, g = org, credibility[by], lambda name: more.get(name, 0); pair = pairs[agent][by]; before = pair["good"].read(now)
    for name, w in more.items(): pair[name].add(w, now)
    if by != org: good_of[org].add((g("good") + g("praise") + g("answered") // 4) * c // ONE, now); bad_of[org].add((g("bad") + g("missed") // 2) * c // ONE, now)
    positive, negative = g("good") + g("praise") + g("answered") // 4, g("bad") + g("missed") // 2
    if by == org: adds = [0, 0, g("good") + g("praise") + g("answered"), (g("bad") + g("missed")) * 5 // 4]
    else: adds = [positive * (SAT * c // (SAT + before)) // ONE, negative * 5 // 4 * c // ONE, 0, 0]
    for one, w in zip(recent[agent], adds): one.add(w, soon)
    if by != org and positive > 0: edges += by not in custom[org]; custom[org][by].add(positive, now); changes += 1
def lower(good, bad, z2):
    low, high, n = 0, M, good + bad
    while low < high:
        x = (low + high + 1) // 2; d = good * M - n * x
        low, high = (x, high) if d >= 0 and d * d >= z2 * ONE * n * x * (M - x) // 1000 else (low, x - 1)
    return low if good else 0
def score(agent):
    read = lambda w: defaultdict(int, {name: one.read(now) for name, one in w.items()})
    org, of = home[agent], {o: read(w) for o, w in pairs[agent].items()}
    plain = lambda w: max(0, w["answered"] - w["good"] - w["bad"])
    say = {o: w["good"] + w["praise"] + w["answered"] // 4 for o, w in of.items()}
    voice = {o: credibility[o] * (say[o] + w["blame"]) // (say[o] + w["blame"] + ONE // 4) for o, w in of.items() if o != org}
    share = lambda o: M * say[o] // (say[o] + of[o]["blame"])
    order = sorted((o for o in voice if voice[o] > 0), key=lambda o: (share(o), o)); total = sum(voice.values()); third, out = total // 3, set()
    middle = next((share(o) for k, o in enumerate(order) if 2 * sum(voice[p] for p in order[:k + 1]) >= total), 0)
    for o in order:
        if of[o]["blame"] and (M - lower(of[o]["blame"], say[o], 4000)) * 3 < 2 * middle and voice[o] <= third: third -= voice[o]; out.add(o)
    good = bad = 0
    for o, w in of.items():
        c = credibility[o]
        if o == org or c == 0: continue
        g = w["good"] + w["praise"] + plain(w) // 4; g = g if o in verified else g * left_of(org, o) // MUTUAL
        b = w["bad"] + w["missed"] // 2 + (0 if o in out else w["blame"]); cap = SAT * c // ONE
        good += cap * g // (cap + g + b) * c // ONE; bad += cap * b // (cap + g + b) * c // ONE
    b = bad_of[org].read(now); inherited = 3 * ONE * b // (good_of[org].read(now) + b + ONE) * max(0, SAT - good) // SAT
    rg, rb, hg, hb = (one.read(soon) for one in recent[agent]); w = of.get(org, defaultdict(int))
    bound = lambda g, b, rg, rb: min(lower(g, b, 1500), M * (rg + 3 * ONE) // (rg + 3 * ONE + rb))
    return bound(good, bad + inherited, rg, rb), bound(good + w["good"] + w["praise"] + plain(w), bad + w["bad"] + w["blame"] + w["missed"], min(MOST, rg + hg), min(MOST, rb + hb))
for line in open(sys.argv[1]):
    r = json.loads(line); r = r.get("payload", r); kind = r["type"]
    if kind == "clock.read":
        hour = r["at"] // 3600000; old, soon_old = Moment(hour, half), Moment(8 * hour, half)
        now, soon = Moment(hour, r["halfLifeHours"]), Moment(8 * hour, r["halfLifeHours"])
        if half != r["halfLifeHours"]: [c.recount(old, now) for c in counters]; [c.recount(soon_old, soon) for c in recents]
        half = r["halfLifeHours"]
        if due or hour - min(computed, hour) >= 24 or changes > 0 and changes * 16 >= edges: computed, due, changes = hour, False, 0; compute()
    elif kind == "org.verified": (verified.add if r["verified"] else verified.discard)(r["org"]); due = True
    elif kind == "commitment.ended":
        a, c = r["obligor"], r.get("counterparty"); other = c and c["agent"] != a["agent"]; how = r.get("confirmation")
        apart = c and (c["org"] != a["org"] or "team" in a and "team" in c and a["team"] != c["team"])
        kept = other and (how == "explicit" and (apart or not r["oneSided"]) or how == "silence" and not r["oneSided"])
        add(a["agent"], a["org"], c["org"] if c else a["org"], good=ONE if kept else 0, bad=WEIGHT[r.get("severity", 0)])
    elif kind == "task.settled": add(r["agent"]["agent"], r["agent"]["org"], r["by"]["org"], **{"answered" if "responseMs" in r else "missed": ONE})
    elif kind == "agent.rated": praise = ONE // 2 * r["rating"] // 1000; add(r["agent"]["agent"], r["agent"]["org"], r["by"]["org"], praise=praise, blame=ONE // 2 - praise)
    elif kind == "agent.endorsed": home[r["agent"]["agent"]] = r["agent"]["org"]
    elif kind == "dispute.ruled":
        f, a = r["filer"], r["against"]; w = {"upheld": WEIGHT[r["severity"]], "partial": WEIGHT[r["severity"]] // 2, "dismissed": 0}[r["ruling"]]
        add(a["agent"], a["org"], f["org"], **{"blame" if r["mechanism"] == "arbitrated" else "bad": max(0, w - WEIGHT[r["counted"]])}); home[f["agent"]] = f["org"]
        if f["org"] != a["org"]: (dismissed if w == 0 else upheld)[f["org"]].add(ONE, now); due = True
for agent in sorted(home): print(agent, *score(agent))
