use super::*;

/// The `n`th of very many types.
fn ty(n: usize) -> FuncType {
    let bit = |i: usize| if n >> i & 1 == 1 { ValType::I64 } else { ValType::I32 };
    FuncType::new((0..20).map(bit), [])
}

/// A function that takes a reference to this type.
fn taking(id: TypeId) -> FuncType {
    FuncType::new([RefType::new(true, HeapType::Concrete(id)).into()], [])
}

fn open(ty: FuncType, supertype: Option<TypeId>) -> Definition {
    Definition { ty, is_open: true, supertype }
}

#[test]
fn numbers_that_nobody_holds_are_given_out_again() {
    let mut table = Signatures::default();
    let held: Vec<_> = (0..2000).map(|n| table.intern(&ty(n)).unwrap()).collect();
    for n in 2000..100_000 {
        table.intern(&ty(n)).unwrap();
    }
    assert!(table.signatures.len() <= 4001, "{}", table.signatures.len());
    for (n, signature) in held.iter().enumerate() {
        assert_eq!(table.get(signature.number).ty, ty(n));
        assert_eq!(table.intern(&ty(n)).unwrap().number, signature.number);
    }
}

#[test]
fn numbers_that_were_named_are_not_given_out_again() {
    let mut table = Signatures::default();
    let named = table.intern(&ty(1)).unwrap().id();
    let by = table.intern(&taking(named)).unwrap();
    for n in 2..10_000 {
        table.intern(&ty(n)).unwrap();
    }
    // It is held by who names it.
    assert_eq!(table.get(named.number()).ty, ty(1));
    drop(by);
    for n in 10_000..20_000 {
        table.intern(&ty(n)).unwrap();
    }
    assert!(table.named(named).is_none());
    assert!(table.intern(&taking(named)).is_err());
    assert_ne!(table.intern(&ty(1)).unwrap().id(), named);
}

#[test]
fn chains_of_types_are_forgotten_as_a_whole() {
    let mut table = Signatures::default();
    let mut last = table.intern(&ty(0)).unwrap();
    for _ in 0..1000 {
        last = table.intern(&taking(last.id())).unwrap();
    }
    drop(last);
    for n in 1..10_000 {
        table.intern(&ty(n)).unwrap();
    }
    assert!(table.count <= 2 * FIRST_SWEEP, "{}", table.count);
}

#[test]
fn groups_are_equal_by_what_they_say() {
    let mut table = Signatures::default();
    let itself = [Definition::from(taking(relative(0)))];
    let one = table.intern_group(&itself).unwrap();
    assert_eq!(one[0].number, table.intern_group(&itself).unwrap()[0].number);
    assert_eq!(one[0].ty, taking(one[0].id()));
    // The same function type is another type if it stands alone.
    let unrolled = table.intern(&one[0].ty).unwrap();
    assert_ne!(unrolled.number, one[0].number);
    // Two that refer to each other are not one that refers to itself, nor equal to each other.
    let two = [relative(1), relative(0)].map(|id| Definition::from(taking(id)));
    let two = table.intern_group(&two).unwrap();
    assert_ne!(two[0].number, two[1].number);
    assert_ne!(two[0].number, one[0].number);
    assert_eq!(*two[0].group, [two[0].number, two[1].number]);
    assert!(table.intern_group(&[Definition::from(taking(relative(1)))]).is_err());
}

#[test]
fn what_a_type_needs_comes_before_it() {
    let mut table = Signatures::default();
    let plain = table.intern(&ty(1)).unwrap();
    let pair = [taking(relative(1)), taking(plain.id())].map(Definition::from);
    let pair = table.intern_group(&pair).unwrap();
    let outer = FuncType::new(taking(pair[0].id()).params, taking(plain.id()).params);
    let outer = table.intern(&outer).unwrap();
    let numbers = |known: &[TypeId]| {
        let needed = table.needed(&outer, |id| known.contains(&id));
        needed.iter().map(|signature| signature.number).collect::<Vec<_>>()
    };
    let [a, b, c] = [&plain, &pair[0], &pair[1]].map(|signature| signature.number);
    assert_eq!(numbers(&[]), [a, b, c, outer.number]);
    assert_eq!(numbers(&[plain.id()]), [b, c, outer.number]);
    assert_eq!(numbers(&[outer.id()]), [0; 0]);
}

#[test]
fn subtypes_are_declared() {
    let mut table = Signatures::default();
    let top = table.intern_group(&[open(ty(0), None)]).unwrap().remove(0);
    let middle = [open(ty(0), Some(top.id())), open(ty(0), Some(relative(0)))];
    let middle = table.intern_group(&middle).unwrap();
    let apart = table.intern(&ty(0)).unwrap();
    let is_subtype = |a: &Arc<Signature>, b: &Arc<Signature>| table.is_subtype(a.id(), b.id());
    assert!(is_subtype(&middle[1], &top) && is_subtype(&middle[1], &middle[0]));
    assert!(is_subtype(&middle[0], &top) && is_subtype(&top, &top));
    assert!(!is_subtype(&top, &middle[0]) && !is_subtype(&middle[0], &middle[1]));
    assert!(!is_subtype(&apart, &top) && !is_subtype(&top, &apart));
    assert_eq!(middle[1].supertype(), Some(middle[0].id()));
    assert_eq!(apart.supertype(), None);
}
