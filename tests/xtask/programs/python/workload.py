"""A little of everything that CPython does: `workload.py N`, where N scales the work."""

import collections
import hashlib
import json
import re
import sys


def primes(limit):
    """Slices of a bytearray: C loops inside the interpreter."""
    crossed = bytearray(limit + 1)
    for p in range(2, int(limit**0.5) + 1):
        if not crossed[p]:
            crossed[p * p :: p] = b"\1" * len(range(p * p, limit + 1, p))
    return [p for p in range(2, limit + 1) if not crossed[p]]


class Account:
    """Attribute access, method calls, exceptions."""

    def __init__(self, name):
        self.name = name
        self.balance = 0

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError(f"{self.name} has only {self.balance}")
        self.balance -= amount


def bank(rounds):
    account, refused = Account("midair"), 0
    for i in range(rounds):
        account.balance += i % 7
        try:
            account.withdraw(i % 11)
        except ValueError:
            refused += 1
    return account.balance, refused


def tokens(text):
    """Generators and regular expressions."""
    for match in re.finditer(r"(?P<word>[a-z]+)|(?P<number>\d+)|(?P<other>\S)", text):
        yield match.lastgroup, match.group()


def main(n):
    found = primes(n * 200)
    print("primes", len(found), found[-1])

    print("bank", bank(n * 10))

    text = " ".join(f"w{chr(97 + i % 26)}x {i * i} ;" for i in range(n * 2))
    kinds = collections.Counter(kind for kind, _ in tokens(text))
    print("tokens", sorted(kinds.items()))

    document = json.dumps({str(i): [i, i / 3, {"half": i // 2}] for i in range(n)}, sort_keys=True)
    back = json.loads(document)
    print("json", len(document), sum(v[2]["half"] for v in back.values()))

    print("sha", hashlib.sha256(document.encode()).hexdigest())
    print("power", pow(3, n * 20) % (10**40))
    print("sorted", sorted((str(i * 7919 % 1009) for i in range(n)), key=lambda s: (len(s), s))[:8])


if __name__ == "__main__":
    main(int(sys.argv[1]))
    sys.exit(3)
