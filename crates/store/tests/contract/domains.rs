//! Domains, blocks and roots: against the plain trees of what was appended.

use super::{
    Backing,
    changes::Listener,
    fixture::{ROOM, admitted, new_task, owner, program},
};
use bytes::Bytes;
use coprocessor_merkle::{
    DOMAIN_DEPTH, ROOT_DEPTH, Tree, Value, block_key, block_value, domain_key, domain_value, instance_key,
    instance_root, verify_block, verify_instance,
};
use coprocessor_store::{
    AddDomain, Admission, AppendBlocks, Block, Change, Cursor, Domain, Idempotency, MAX_BATCH, MAX_PAYLOAD, NewBlock,
    NewDomain, NewTask, OpenedBlock, Retention, RootRecord, Store, StoreError, TrustPolicy,
};
use coprocessor_types::{BlobDigest, BlockNumber, DomainId, InstanceId, Root, StateProof, TaskId, TrustId};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::task::JoinSet;

const ALL: usize = 1_000_000;

fn name(index: usize) -> String {
    format!("domain {index}")
}

pub(crate) fn id(index: usize) -> DomainId {
    DomainId::derive(&name(index))
}

async fn new_domain(store: &dyn Store, index: usize) -> NewDomain {
    NewDomain {
        id: id(index),
        name: name(index),
        owner: owner("alice"),
        controller: store.put_blob(Bytes::from_static(b"domain controller")).await.unwrap(),
        settings: json!({ "chain": index, "text": "naïve \0" }),
        policy: TrustPolicy::ControllerOnly,
    }
}

pub(crate) async fn domain(store: &dyn Store, index: usize) -> Domain {
    match store.add_domain(new_domain(store, index).await).await.unwrap() {
        AddDomain::Added(domain) => domain,
        AddDomain::Exists(domain) => panic!("{domain:?} is there already"),
    }
}

/// A domain, whether it is there already or not.
pub(crate) async fn added(store: &dyn Store, index: usize) -> Domain {
    match store.add_domain(new_domain(store, index).await).await.unwrap() {
        AddDomain::Added(domain) | AddDomain::Exists(domain) => domain,
    }
}

pub(crate) fn new_block(number: BlockNumber) -> NewBlock {
    let mut state_root = [7; 32];
    state_root[..8].copy_from_slice(&number.to_be_bytes());
    let payload = Bytes::from(vec![number as u8; (number % 40) as usize]);
    NewBlock { number, state_root, payload, trust: TrustId([0; 32]) }
}

async fn append(store: &dyn Store, index: usize, numbers: &[BlockNumber]) -> Vec<Block> {
    let blocks = numbers.iter().copied().map(new_block).collect();
    match store.append_blocks(id(index), blocks).await.unwrap() {
        AppendBlocks::Appended(blocks) => blocks,
        AppendBlocks::Taken { number, .. } => panic!("{number} is taken"),
    }
}

/// Two domains, and three blocks of each by turns.
pub(crate) async fn two_with_blocks(store: &dyn Store) {
    for index in 0..2 {
        domain(store, index).await;
    }
    for number in 1..=6 {
        append(store, number as usize % 2, &[number]).await;
    }
}

/// One root, in its plainest form.
#[derive(Clone)]
struct Version {
    root: Tree,
    domains: BTreeMap<DomainId, Tree>,
    blocks: BTreeMap<(DomainId, BlockNumber), NewBlock>,
    made_by: Option<(DomainId, BlockNumber)>,
}

impl Version {
    fn first(instance: InstanceId) -> Self {
        Self {
            root: [(instance_key(), Value(instance.0))].into_iter().collect(),
            domains: BTreeMap::new(),
            blocks: BTreeMap::new(),
            made_by: None,
        }
    }

    fn with(&self, domain: DomainId, block: &NewBlock) -> Self {
        let mut next = self.clone();
        let tree = next.domains.entry(domain).or_default();
        let value = block_value(block.number, &block.state_root, &block.payload, &block.trust);
        assert_eq!(tree.insert(block_key(block.number), value), None);
        next.root.insert(domain_key(&domain), domain_value(&tree.root()));
        next.blocks.insert((domain, block.number), block.clone());
        next.made_by = Some((domain, block.number));
        next
    }

    fn latest(&self, domain: DomainId) -> Option<BlockNumber> {
        self.blocks.range((domain, 0)..=(domain, u64::MAX)).next_back().map(|((_, number), _)| *number)
    }
}

/// All roots there ever were.
struct Model {
    instance: InstanceId,
    versions: Vec<Version>,
}

impl Model {
    fn new(instance: InstanceId) -> Self {
        Self { instance, versions: vec![Version::first(instance)] }
    }

    fn newest(&self) -> &Version {
        self.versions.last().unwrap()
    }

    /// Appends to both, and compares what the store says of it.
    async fn append(&mut self, store: &dyn Store, domain: DomainId, blocks: Vec<NewBlock>) {
        let appended = match store.append_blocks(domain, blocks.clone()).await.unwrap() {
            AppendBlocks::Appended(appended) => appended,
            AppendBlocks::Taken { number, .. } => panic!("{number} is taken"),
        };
        assert_eq!(appended.len(), blocks.len());
        for (block, new) in appended.iter().zip(&blocks) {
            self.versions.push(self.newest().with(domain, new));
            self.check_block(block, domain, new);
            assert_eq!(block.version, self.versions.len() as u64 - 1);
        }
    }

    fn check_block(&self, block: &Block, domain: DomainId, new: &NewBlock) {
        assert_eq!((block.domain, block.number, block.state_root), (domain, new.number, new.state_root));
        assert_eq!((&block.payload, block.trust), (&new.payload, new.trust));
        let version = &self.versions[block.version as usize];
        assert_eq!(version.made_by, Some((domain, block.number)));
        assert_eq!(version.root.root(), block.root);
    }

    async fn check_record(&self, store: &dyn Store, record: &RootRecord) {
        let version = &self.versions[record.version as usize];
        assert_eq!((record.root, record.block), (version.root.root(), version.made_by));
        assert_eq!(store.root(record.root).await.unwrap().as_ref(), Some(record));
        if let Some((domain, number)) = record.block {
            let block = store.block(domain, number).await.unwrap().unwrap();
            self.check_block(&block, domain, &version.blocks[&(domain, number)]);
            assert_eq!((block.version, block.appended_at), (record.version, record.at));
        }
    }

    /// Opens a number at a root, and compares with the plain trees.
    async fn check_opening(&self, store: &dyn Store, at: usize, domain: DomainId, number: BlockNumber) {
        let version = &self.versions[at];
        let root = version.root.root();
        let opened = store.open_block(root, domain, number).await.unwrap();
        let in_root = version.root.open(&domain_key(&domain));
        let tree = version.domains.get(&domain);
        let in_domain = tree.map(|tree| (tree.root(), tree.open(&block_key(number))));
        match (opened, version.blocks.get(&(domain, number)), in_domain) {
            (OpenedBlock::Member(block, opening), Some(new), Some((_, in_domain))) => {
                self.check_block(&block, domain, new);
                assert_eq!(
                    (&opening.domain_siblings, &opening.root_siblings),
                    (&in_domain.siblings, &in_root.siblings)
                );
                let proof = StateProof {
                    domain,
                    number,
                    state_root: block.state_root,
                    payload: block.payload.to_vec(),
                    proof: Vec::new(),
                };
                assert_eq!(verify_block(&root, &proof, &opening), Ok(()));
                let other = &self.versions[if at == 0 { self.versions.len() - 1 } else { at - 1 }];
                assert!(verify_block(&other.root.root(), &proof, &opening).is_err());
            }
            (
                OpenedBlock::Absent { root: got_root, domain: got_domain, domain_root },
                None,
                Some((tree, in_domain)),
            ) => {
                assert_eq!((&got_root, &got_domain, domain_root), (&in_root, &in_domain, tree));
                let held = got_root.verify(&root, &domain_key(&domain), ROOT_DEPTH);
                assert_eq!(held, Ok(Some(domain_value(&domain_root))));
                assert_eq!(got_domain.verify(&domain_root, &block_key(number), DOMAIN_DEPTH), Ok(None));
            }
            (OpenedBlock::NoDomain(opening), None, None) => {
                assert_eq!(opening, in_root);
                assert_eq!(opening.verify(&root, &domain_key(&domain), ROOT_DEPTH), Ok(None));
            }
            (opened, new, _) => panic!("opened {opened:?} at root {at}, where {new:?} is"),
        }
    }

    /// Everything a root is asked for, but openings of blocks.
    async fn check_root(&self, store: &dyn Store, at: usize) {
        let version = &self.versions[at];
        let root = version.root.root();
        let siblings = store.open_instance(root).await.unwrap();
        assert_eq!(siblings, version.root.open(&instance_key()).siblings);
        assert_eq!(verify_instance(&root, &self.instance, &siblings), Ok(()));
        for &domain in self.newest().domains.keys().chain([&id(999)]) {
            let latest = store.latest_block(domain, root).await.unwrap();
            assert_eq!(latest.map(|block| block.number), version.latest(domain), "at root {at}");
        }
    }

    async fn check_transitions(&self, store: &dyn Store, from: usize) {
        let appends = store.transitions(from as u64, u64::MAX, ALL).await.unwrap();
        assert_eq!(appends.len(), self.versions.len() - 1 - from);
        for (append, pair) in appends.iter().zip(self.versions[from..].windows(2)) {
            assert_eq!(append.verify(&pair[0].root.root(), &pair[1].root.root()), Ok(()));
            assert_eq!(Some((append.domain, append.number)), pair[1].made_by);
        }
    }

    /// The line of roots and the lists.
    async fn check_lists(&self, store: &dyn Store) {
        let roots = store.roots(None, ALL).await.unwrap();
        assert_eq!(roots.len(), self.versions.len());
        assert!(roots.is_sorted_by_key(|record| record.at));
        for record in &roots {
            self.check_record(store, record).await;
        }
        assert_eq!(store.current_root().await.unwrap(), *roots.last().unwrap());
        let all: BTreeSet<_> = roots.iter().map(|record| record.root).collect();
        assert_eq!(all.len(), roots.len());
        for &domain in self.newest().domains.keys() {
            let numbers = listed(store, domain, 7).await.iter().map(|block| block.number).collect::<Vec<_>>();
            let here = self.newest().blocks.range((domain, 0)..=(domain, u64::MAX));
            let expected = here.rev().map(|((_, number), _)| *number).collect::<Vec<_>>();
            assert_eq!(numbers, expected);
            let record = store.domain(domain).await.unwrap().unwrap();
            assert_eq!((record.blocks, record.latest), (expected.len() as u64, expected.first().copied()));
        }
    }
}

/// A domain's blocks, by pages of so many.
async fn listed(store: &dyn Store, domain: DomainId, limit: usize) -> Vec<Block> {
    let (mut blocks, mut after) = (Vec::new(), None);
    loop {
        let page = store.blocks(domain, after, limit).await.unwrap();
        assert!(page.items.len() == limit || page.next.is_none());
        blocks.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => break blocks,
        }
    }
}

/// Draws the same numbers for the same seed.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A number that often is near others of its domain: in value, or on the path.
    fn number(&mut self, version: &Version, domain: DomainId) -> BlockNumber {
        let near = version.latest(domain).unwrap_or(0);
        match self.below(8) {
            0 => self.next(),
            1 => u64::MAX - self.below(3) as u64,
            2 => 1 << self.below(64),
            3 => near ^ (1 << self.below(64)),
            4 => self.below(20) as u64,
            _ => near.wrapping_add(1),
        }
    }
}

pub(crate) async fn random_histories_open_as_plain_trees<B: Backing + 'static>() {
    for seed in 0..(B::HISTORIES / 50).clamp(1, 12) {
        let followed = tokio::spawn(follow::<B>(Draw(seed))).await;
        followed.unwrap_or_else(|failure| panic!("the history of seed {seed} went wrong: {failure}"));
    }
}

async fn follow<B: Backing>(mut draw: Draw) {
    let mut backing = B::quick().await;
    let store = backing.store();
    let mut model = Model::new(store.instance());
    let count = 1 + draw.below(6);
    for index in 0..count {
        domain(&*store, index).await;
    }
    for _ in 0..draw.below(40) {
        let domain = id(draw.below(count));
        let mut blocks: Vec<NewBlock> = Vec::new();
        for _ in 0..1 + draw.below(5) {
            let number = draw.number(model.newest(), domain).wrapping_add(blocks.len() as u64);
            let known = model.newest().blocks.contains_key(&(domain, number));
            if !known && !blocks.iter().any(|block| block.number == number) {
                blocks.push(NewBlock { trust: TrustId([draw.below(3) as u8; 32]), ..new_block(number) });
            }
        }
        model.append(&*store, domain, blocks).await;
    }
    model.check_lists(&*store).await;
    model.check_transitions(&*store, 0).await;
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    for at in 0..model.versions.len() {
        model.check_root(&*store, at).await;
        for domain in (0..=count).map(id) {
            let known: Vec<_> = model.newest().blocks.range((domain, 0)..=(domain, u64::MAX)).collect();
            if !known.is_empty() {
                let number = known[draw.below(known.len())].0.1;
                model.check_opening(&*store, at, domain, number).await;
            }
            let number = draw.number(&model.versions[at], domain);
            model.check_opening(&*store, at, domain, number).await;
        }
    }
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

pub(crate) async fn an_instance_begins_with_the_root_of_its_leaf<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let root = instance_root(&store.instance());
    let first = store.current_root().await.unwrap();
    assert_eq!((first.version, first.root, first.block), (0, root, None));
    assert!(first.at <= Timestamp::now() && first.at > Timestamp::now() - SignedDuration::from_hours(1));
    assert_eq!(store.root(root).await.unwrap(), Some(first.clone()));
    assert_eq!(store.roots(None, 5).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(store.roots(Some(0), 5).await.unwrap(), []);
    assert_eq!(store.roots(Some(u64::MAX), 5).await.unwrap(), []);
    assert_eq!(store.roots(None, 0).await.unwrap(), []);
    assert_eq!(store.open_instance(root).await.unwrap(), []);
    assert_eq!(store.latest_block(id(1), root).await.unwrap(), None);
    assert_eq!(store.transitions(0, 9, 5).await.unwrap(), []);
    // The instance's own place is no domain's.
    let own = DomainId(instance_key().0);
    let refused = store.open_block(root, own, 0).await;
    assert!(matches!(refused, Err(StoreError::UnknownDomain(domain)) if domain == own), "{refused:?}");

    domain(&*store, 1).await;
    let appended = append(&*store, 1, &[5]).await;
    let roots = store.roots(None, 5).await.unwrap();
    assert_eq!(roots.iter().map(|record| record.version).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(store.roots(Some(0), 5).await.unwrap(), roots[1..]);
    assert_eq!(store.roots(None, 1).await.unwrap(), roots[..1]);
    assert_eq!((roots[1].root, roots[1].at), (appended[0].root, appended[0].appended_at));
    assert!(matches!(store.open_block(root, id(1), 5).await.unwrap(), OpenedBlock::NoDomain(_)));
}

pub(crate) async fn what_is_not_there_is_told<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let unknown = Root([9; 32]);
    assert_eq!(store.root(unknown).await.unwrap(), None);
    for refused in [
        store.open_block(unknown, id(1), 1).await.map(drop),
        store.open_instance(unknown).await.map(drop),
        store.latest_block(id(1), unknown).await.map(drop),
    ] {
        assert!(matches!(refused, Err(StoreError::UnknownRoot(root)) if root == unknown), "{refused:?}");
    }
    let refused = store.append_blocks(id(1), vec![new_block(1)]).await;
    assert!(matches!(refused, Err(StoreError::UnknownDomain(domain)) if domain == id(1)), "{refused:?}");
    assert_eq!(store.domain(id(1)).await.unwrap(), None);
    assert_eq!(store.block(id(1), 1).await.unwrap(), None);
    assert_eq!(store.blocks(id(1), None, 5).await.unwrap().items, []);
    assert_eq!(store.set_domain_controller(id(1), BlobDigest([0; 32])).await.unwrap(), None);
    domain(&*store, 1).await;
    assert_eq!(append(&*store, 1, &[]).await, []);
    assert_eq!(store.block(id(1), 1).await.unwrap(), None);
    assert_eq!(store.current_root().await.unwrap().version, 0);
}

pub(crate) async fn a_domain_reads_back_and_stays_as_it_was<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let new = new_domain(&*store, 1).await;
    let missing = BlobDigest([1; 32]);
    let refused = store.add_domain(NewDomain { controller: missing, ..new.clone() }).await;
    assert!(matches!(refused, Err(StoreError::BlobMissing(digest)) if digest == missing), "{refused:?}");
    assert_eq!(store.domain(new.id).await.unwrap(), None);
    let AddDomain::Added(added) = store.add_domain(new.clone()).await.unwrap() else { panic!("it is new") };
    assert_eq!((added.blocks, added.latest, added.created_at), (0, None, added.updated_at));
    let other = NewDomain { owner: owner("bob"), settings: json!(null), ..new.clone() };
    assert_eq!(store.add_domain(other).await.unwrap(), AddDomain::Exists(added.clone()));
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    let found = store.domain(new.id).await.unwrap().unwrap();
    assert_eq!(found, added);
    let back = NewDomain {
        id: found.id,
        name: found.name,
        owner: found.owner,
        controller: found.controller,
        settings: found.settings,
        policy: found.policy,
    };
    assert_eq!(back, new);

    let refused = store.set_domain_controller(new.id, missing).await;
    assert!(matches!(refused, Err(StoreError::BlobMissing(digest)) if digest == missing), "{refused:?}");
    assert_eq!(store.domain(new.id).await.unwrap(), Some(added.clone()));
    let controller = store.put_blob(Bytes::from_static(b"a better controller")).await.unwrap();
    let set = store.set_domain_controller(new.id, controller).await.unwrap().unwrap();
    assert_eq!(set, Domain { controller, updated_at: set.updated_at, ..added.clone() });
    assert!(set.updated_at > added.updated_at);
    assert_eq!(
        store.set_domain_controller(new.id, added.controller).await.unwrap().unwrap().controller,
        added.controller
    );

    // What it names or ever named stays, whatever is collected.
    let unnamed = store.put_blob(Bytes::from_static(b"named by nobody")).await.unwrap();
    let retention = Retention { unnamed_blobs: Duration::ZERO, ..Retention::default() };
    store.collect(&retention, Timestamp::now() + SignedDuration::from_secs(1), 100).await.unwrap();
    assert!(matches!(store.blob(unnamed).await, Err(StoreError::BlobMissing(_))));
    for kept in [controller, added.controller] {
        store.blob(kept).await.unwrap();
    }
    assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
}

pub(crate) async fn domains_and_blocks_are_listed_in_order<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let order = [3, 1, 4, 0, 5];
    let mut expected = Vec::new();
    for index in order {
        expected.push(domain(&*store, index).await);
    }
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let page = store.domains(after, 2).await.unwrap();
        found.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, expected);

    let numbers = [5, u64::MAX, 0, 1 << 63, (1 << 63) - 1, 6];
    append(&*store, 3, &numbers).await;
    append(&*store, 1, &[2]).await;
    let highest_first = [u64::MAX, 1 << 63, (1 << 63) - 1, 6, 5, 0];
    for limit in [1, 2, 3, 6, 7] {
        let found: Vec<_> = listed(&*store, id(3), limit).await.iter().map(|block| block.number).collect();
        assert_eq!(found, highest_first);
    }
    let found = store.domain(id(3)).await.unwrap().unwrap();
    assert_eq!((found.blocks, found.latest), (6, Some(u64::MAX)));
    let next = store.blocks(id(3), None, 1).await.unwrap().next.unwrap();
    for bad in [Cursor("x".to_owned()), Cursor("b".to_owned()), Cursor("b-1".to_owned()), next.clone()] {
        assert!(matches!(store.domains(Some(bad.clone()), 5).await, Err(StoreError::BadCursor)), "{bad:?}");
    }
    let next = store.domains(None, 1).await.unwrap().next.unwrap();
    for bad in [Cursor("x".to_owned()), Cursor("b".to_owned()), Cursor("b-1".to_owned()), next] {
        assert!(matches!(store.blocks(id(3), Some(bad.clone()), 5).await, Err(StoreError::BadCursor)), "{bad:?}");
    }
}

pub(crate) async fn a_number_is_taken_once_and_a_call_is_all_or_nothing<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    domain(&*store, 1).await;
    domain(&*store, 2).await;
    let first = append(&*store, 1, &[5, 3]).await;
    let newest = store.current_root().await.unwrap();
    let unchanged = async || {
        assert_eq!(store.current_root().await.unwrap(), newest);
        assert_eq!(store.domain(id(1)).await.unwrap().unwrap().blocks, 2);
        assert_eq!(store.block(id(1), 7).await.unwrap(), None);
    };
    let other = NewBlock { state_root: [1; 32], ..new_block(5) };
    for blocks in [vec![new_block(5)], vec![other.clone()], vec![new_block(7), other, new_block(8)]] {
        let taken = store.append_blocks(id(1), blocks).await.unwrap();
        assert_eq!(taken, AppendBlocks::Taken { number: 5, block: Some(Box::new(first[0].clone())) });
        unchanged().await;
    }
    let twice = store.append_blocks(id(1), vec![new_block(7), new_block(8), new_block(7)]).await.unwrap();
    assert_eq!(twice, AppendBlocks::Taken { number: 7, block: None });
    unchanged().await;
    let long = NewBlock { payload: vec![0; MAX_PAYLOAD + 1].into(), ..new_block(8) };
    let refused = store.append_blocks(id(1), vec![new_block(7), long]).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { got, limit: MAX_PAYLOAD, .. }) if got == MAX_PAYLOAD + 1));
    let many = (7..8 + MAX_BATCH as u64).map(new_block).collect();
    let refused = store.append_blocks(id(1), many).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { got, limit: MAX_BATCH, .. }) if got == MAX_BATCH + 1));
    unchanged().await;
    // Another domain has numbers of its own.
    append(&*store, 2, &[5]).await;
    let longest = NewBlock { payload: vec![7; MAX_PAYLOAD].into(), ..new_block(u64::MAX) };
    store.append_blocks(id(1), vec![longest.clone()]).await.unwrap();
    assert_eq!(store.block(id(1), u64::MAX).await.unwrap().unwrap().payload, longest.payload);
}

pub(crate) async fn appends_at_once_make_one_line<B: Backing>() {
    let backing = B::new().await;
    let stores: Vec<_> = [Some(backing.store()), backing.second().await].into_iter().flatten().collect();
    for index in 0..4 {
        domain(&*stores[0], index).await;
    }
    let mut appends = JoinSet::new();
    for writer in 0..8_u64 {
        let store = stores[writer as usize % stores.len()].clone();
        appends.spawn(async move {
            let mut refused = 0;
            for round in 0..6_u64 {
                // Two of them to each domain; and all to the first, with numbers that half of them want too.
                append(&*store, writer as usize % 4, &[1000 + writer * 100 + round, 2000 + writer * 100 + round]).await;
                match store.append_blocks(id(0), vec![new_block(writer / 2 * 10 + round)]).await.unwrap() {
                    AppendBlocks::Appended(_) => {}
                    AppendBlocks::Taken { block, .. } => {
                        assert!(block.is_some());
                        refused += 1;
                    }
                }
            }
            refused
        });
    }
    let mut refused = 0;
    while let Some(writer) = appends.join_next().await {
        refused += writer.unwrap();
    }
    assert_eq!(refused, 4 * 6);
    // Whichever order it was, it is one order, and every root in it follows from the one before.
    let total = 8 * 6 * 2 + 4 * 6;
    for store in &stores {
        let roots = store.roots(None, ALL).await.unwrap();
        assert_eq!(roots.len(), total + 1);
        let mut model = Model::new(store.instance());
        for record in &roots[1..] {
            let (domain, number) = record.block.unwrap();
            model.versions.push(model.newest().with(domain, &new_block(number)));
        }
        model.check_lists(&**store).await;
        model.check_transitions(&**store, 0).await;
        for at in [0, total / 2, total] {
            for number in [1000, 2100, 3, 77] {
                model.check_opening(&**store, at, id(0), number).await;
                model.check_opening(&**store, at, id(1), number).await;
            }
        }
        assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
    }
}

pub(crate) async fn pruned_roots_are_refused_and_later_ones_open<B: Backing>() {
    let mut backing = B::new().await;
    let store = backing.store();
    let mut model = Model::new(store.instance());
    for index in 0..3 {
        domain(&*store, index).await;
    }
    let grow = async |model: &mut Model, store: &dyn Store, rounds: u64| {
        for _ in 0..rounds {
            let number = model.versions.len() as u64;
            let blocks = vec![new_block(number), new_block(number + 100_000)];
            model.append(store, id(number as usize % 3), blocks).await;
        }
    };
    grow(&mut model, &*store, 10).await;
    let later = Timestamp::now() + SignedDuration::from_secs(1);
    // Nothing is that old.
    assert_eq!(store.prune_roots(Timestamp::now() - SignedDuration::from_hours(1), 100).await.unwrap(), (0, false));
    assert_eq!(store.prune_roots(later, 0).await.unwrap(), (0, true));
    assert_eq!(store.prune_roots(later, 5).await.unwrap(), (5, true));
    let check = async |model: &Model, store: &dyn Store, oldest: usize| {
        model.check_lists(store).await;
        for at in 0..model.versions.len() {
            let root = model.versions[at].root.root();
            if at >= oldest {
                model.check_root(store, at).await;
                for number in [1, 2, 100_001, 7, 19, 55] {
                    for index in 0..4 {
                        model.check_opening(store, at, id(index), number).await;
                    }
                }
                continue;
            }
            for refused in [
                store.open_block(root, id(1), 1).await.map(drop),
                store.open_instance(root).await.map(drop),
                store.transitions(at as u64, u64::MAX, 5).await.map(drop),
            ] {
                let expected = |error: &StoreError| match error {
                    StoreError::RootPruned { root: pruned, oldest: got } => *pruned == root && *got == oldest as u64,
                    _ => false,
                };
                assert!(refused.as_ref().is_err_and(expected), "{at}: {refused:?}");
            }
            // It is known still, and so is what it had last.
            let latest = store.latest_block(id(1), root).await.unwrap();
            assert_eq!(latest.map(|block| block.number), model.versions[at].latest(id(1)));
        }
        model.check_transitions(store, oldest).await;
        assert_eq!(store.contradictions().await.unwrap(), Vec::<String>::new());
    };
    check(&model, &*store, 5).await;

    // A task that is not finished keeps its root, and all after it.
    let program = program(&*store, 1).await;
    let pin = async |store: &dyn Store, root: Root| -> TaskId {
        admitted(store.admit(NewTask { root, ..new_task(&program) }, ROOM).await.unwrap()).id
    };
    let kept = pin(&*store, model.versions[12].root.root()).await;
    let elsewhere = pin(&*store, Root([9; 32])).await;
    assert_eq!(store.prune_roots(later, 100).await.unwrap(), (7, false));
    drop(store);
    backing.reopen().await;
    let store = backing.store();
    check(&model, &*store, 12).await;
    grow(&mut model, &*store, 4).await;
    store.cancel(kept).await.unwrap();
    store.cancel(elsewhere).await.unwrap();
    // Those from the last second stay until they are older.
    let cut = model.versions.len() - 1;
    assert_eq!(
        store.prune_roots(Timestamp::now() + SignedDuration::from_secs(9), 100).await.unwrap().0,
        cut as u64 - 12
    );
    check(&model, &*store, cut).await;
    grow(&mut model, &*store, 6).await;
    check(&model, &*store, cut).await;
    assert_eq!(store.prune_roots(Timestamp::now() + SignedDuration::from_secs(9), 100).await.unwrap(), (12, false));
    check(&model, &*store, model.versions.len() - 1).await;
}

/// An idempotency key's task is given back all the same.
pub(crate) async fn no_task_is_pinned_to_what_was_pruned<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    domain(&*store, 0).await;
    let first = store.current_root().await.unwrap().root;
    let mut roots = vec![first];
    for number in 1..=4 {
        append(&*store, 0, &[number]).await;
        roots.push(store.current_root().await.unwrap().root);
    }
    let program = program(&*store, 1).await;
    let keyed = |root| {
        let idempotency = Idempotency { key: "key".to_owned(), request: BlobDigest::default() };
        NewTask { root, idempotency: Some(idempotency), ..new_task(&program) }
    };
    let task = admitted(store.admit(keyed(first), ROOM).await.unwrap());
    let later = Timestamp::now() + SignedDuration::from_secs(9);
    // The instance's first root is one like the others.
    assert_eq!(store.prune_roots(later, 3).await.unwrap(), (0, false));
    store.cancel(task.id).await.unwrap();
    assert_eq!(store.prune_roots(later, 3).await.unwrap(), (3, true));
    for (version, root) in roots.iter().enumerate() {
        for size in [10, 100_000] {
            let new = NewTask { root: *root, payload: "x".repeat(size).into(), ..new_task(&program) };
            let got = store.admit(new, ROOM).await;
            match got {
                Err(StoreError::RootPruned { root: pruned, oldest: 3 }) => {
                    assert_eq!((pruned, version < 3), (*root, true));
                }
                got => assert!(version >= 3 && matches!(got, Ok(Admission::Admitted(_))), "{version}: {got:?}"),
            }
        }
    }
    let repeated = store.admit(keyed(first), ROOM).await.unwrap();
    assert!(matches!(repeated, Admission::Repeated(ref before) if before.id == task.id), "{repeated:?}");
    // One that is none of this store's keeps nothing, and is no reason to refuse a task.
    admitted(store.admit(NewTask { root: Root([9; 32]), ..new_task(&program) }, ROOM).await.unwrap());
}

pub(crate) async fn domains_and_blocks_are_told<B: Backing>() {
    let backing = B::new().await;
    let store = backing.store();
    let mut listener = Listener::new(store.clone()).await;
    let told = async |listener: &mut Listener| {
        let mut told = listener.told().await;
        told.dedup();
        told
    };
    let added = domain(&*store, 1).await;
    assert_eq!(told(&mut listener).await, [Change::Domains]);
    append(&*store, 1, &[1, 2, 3]).await;
    assert_eq!(told(&mut listener).await, [Change::Domains]);
    store.set_domain_controller(id(1), added.controller).await.unwrap();
    assert_eq!(told(&mut listener).await, [Change::Domains]);
    store.add_domain(new_domain(&*store, 1).await).await.unwrap();
    store.append_blocks(id(1), vec![new_block(4), new_block(2)]).await.unwrap();
    store.append_blocks(id(1), Vec::new()).await.unwrap();
    store.append_blocks(id(2), vec![new_block(4)]).await.unwrap_err();
    store.set_domain_controller(id(2), added.controller).await.unwrap();
    assert_eq!(told(&mut listener).await, []);
}

/// Where there are two processes: each goes on from what the other appended, and opens it.
pub(crate) async fn what_one_process_appends_the_other_opens<B: Backing>() {
    let backing = B::new().await;
    let (one, Some(other)) = (backing.store(), backing.second().await) else { return };
    let mut listener = Listener::new(other.clone()).await;
    let mut model = Model::new(one.instance());
    domain(&*one, 1).await;
    listener.expect(&Change::Domains).await;
    for number in 0..20 {
        let store = if number % 2 == 0 { &one } else { &other };
        model.append(&**store, id(1), vec![new_block(number)]).await;
    }
    for store in [&one, &other] {
        for at in [0, 7, 20] {
            model.check_root(&**store, at).await;
            for number in [0, 6, 7, 19, 20] {
                model.check_opening(&**store, at, id(1), number).await;
            }
        }
        model.check_lists(&**store).await;
    }
    // What one takes, the other has not either, whatever it remembers.
    let later = Timestamp::now() + SignedDuration::from_secs(1);
    assert_eq!(one.prune_roots(later, 12).await.unwrap(), (12, true));
    for store in [&one, &other] {
        let refused = store.open_block(model.versions[11].root.root(), id(1), 0).await;
        assert!(matches!(refused, Err(StoreError::RootPruned { oldest: 12, .. })), "{refused:?}");
        for at in 12..=20 {
            model.check_opening(&**store, at, id(1), at as u64 - 3).await;
        }
    }
}
