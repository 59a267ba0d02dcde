// A bit of everything for a JavaScript interpreter. The work is chosen by the first argument that is a number.
const given = (typeof scriptArgs !== "undefined" ? scriptArgs : []).map(Number).filter((n) => n > 0);
const n = given.length > 0 ? given[0] : 10;

function mandelbrot(size) {
    let inside = 0;
    for (let y = 0; y < size; y++) {
        for (let x = 0; x < size; x++) {
            let [a, b, steps] = [0, 0, 0];
            const [cx, cy] = [(3 * x) / size - 2, (2 * y) / size - 1];
            while (a * a + b * b < 4 && steps < 50) {
                [a, b] = [a * a - b * b + cx, 2 * a * b + cy];
                steps++;
            }
            inside += steps === 50 ? 1 : 0;
        }
    }
    return inside;
}

function words(count) {
    const seen = new Map();
    let state = 12345;
    for (let i = 0; i < count; i++) {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        const word = state.toString(36).slice(0, 3);
        seen.set(word, (seen.get(word) ?? 0) + 1);
    }
    const most = [...seen].sort(([a, m], [b, k]) => k - m || (a < b ? -1 : 1)).slice(0, 5);
    return JSON.stringify(most) + " of " + seen.size;
}

class Tree {
    constructor(key) {
        this.key = key;
    }
    // Loops: the stack that this interpreter was built with is soon full.
    insert(key) {
        let node = this;
        for (;;) {
            const side = key < node.key ? "left" : "right";
            if (!node[side]) {
                node[side] = new Tree(key);
                return;
            }
            node = node[side];
        }
    }
    *[Symbol.iterator]() {
        const open = [];
        for (let node = this; node || open.length > 0; node = node.right) {
            for (; node; node = node.left) open.push(node);
            node = open.pop();
            yield node.key;
        }
    }
}

function tree(count) {
    const root = new Tree(count / 2);
    for (let i = 0; i < count; i++) root.insert((i * 7919) % count);
    let sum = 0;
    let at = 0;
    for (const key of root) sum = (sum * 31 + key * ++at) % 1000003;
    return sum;
}

// A loop, for the same reason.
function factorial(k) {
    let product = 1n;
    for (let i = 2n; i <= k; i++) product *= i;
    return product;
}

function thrown(count) {
    let caught = 0;
    for (let i = 0; i < count; i++) {
        try {
            if (i % 3 === 0) throw new RangeError("no " + i);
            null.property;
        } catch (error) {
            caught += error instanceof RangeError ? 1 : 1000;
        }
    }
    return caught;
}

console.log("mandelbrot", mandelbrot(n));
console.log("words", words(n * 20));
console.log("tree", tree(n * 4));
console.log("factorial", String(factorial(BigInt(n))).slice(0, 40));
console.log("thrown", thrown(n));
console.log("replaced", "a1b22c333".repeat(n).replace(/[a-c](\d+)/g, (_, d) => d.length).length);
