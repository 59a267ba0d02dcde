//! Runs the directives of one script.

use super::{spectest, values};
use anyhow::Context as _;
use midair::{
    Config, Engine, Error, Exception, Extern, Instance, Linker, Module, PrintableName, Result,
    SharedMemory, Store, Trap, UnlinkedImports, Val,
};
use std::collections::HashMap;
use std::thread::{Scope, ScopedJoinHandle};
use wasmparser::{Validator, WasmFeatures};
use wast::token::Id;
use wast::{QuoteWat, WastDirective, WastExecute, WastInvoke, WastThread, Wat};

/// What became of a directive that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it says.
    Passed,
    /// It cannot be run.
    Skipped,
}

/// State of a script, or of a thread of one. Threads run in `'s`.
pub struct Script<'s, 'env> {
    engine: Engine,
    /// An engine that knows nothing later than WebAssembly 2.0.
    plain_engine: Engine,
    store: Store<()>,
    /// `spectest`.
    base: Linker<()>,
    /// The modules that have been registered, by the names under which they are imported.
    registered: HashMap<String, Instance>,
    /// All that can be imported.
    linker: Linker<()>,
    /// Modules by the names of their definitions.
    definitions: HashMap<String, Module>,
    last_definition: Option<Module>,
    /// Instances by name.
    instances: HashMap<String, Instance>,
    /// The instance that directives mean if they name none.
    current: Option<Instance>,
    /// What a thread's parent shares with it: memories, by the name of their instance.
    shared: HashMap<String, SharedExports>,
    /// Of that, what has been registered.
    registered_memories: HashMap<String, SharedExports>,
    scope: &'s Scope<'s, 'env>,
    /// Threads that have not been waited for.
    threads: HashMap<String, ScopedJoinHandle<'s, Result<()>>>,
}

/// Shared memories that an instance exports, by name.
type SharedExports = Vec<(String, SharedMemory)>;

impl<'s, 'env: 's> Script<'s, 'env> {
    pub fn new(config: &Config, scope: &'s Scope<'s, 'env>) -> Result<Script<'s, 'env>> {
        let mut plain = config.clone();
        plain.wasm_multi_memory(false).wasm_extended_const(false);
        plain.wasm_function_references(false).wasm_memory64(false).wasm_relaxed_simd(false);
        plain.wasm_threads(false);
        Script::on(Engine::new(config)?, Engine::new(&plain)?, scope)
    }

    /// A script, or a thread of one, in a store of its own.
    fn on(
        engine: Engine,
        plain_engine: Engine,
        scope: &'s Scope<'s, 'env>,
    ) -> Result<Script<'s, 'env>> {
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        linker.allow_shadowing(true);
        spectest::define(&mut linker, &mut store)?;
        Ok(Script {
            engine,
            plain_engine,
            store,
            base: linker.clone(),
            registered: HashMap::new(),
            linker,
            definitions: HashMap::new(),
            last_definition: None,
            instances: HashMap::new(),
            current: None,
            shared: HashMap::new(),
            registered_memories: HashMap::new(),
            scope,
            threads: HashMap::new(),
        })
    }

    /// Starts a thread that runs directives. What fails there is told where it is waited for.
    fn start(&mut self, thread: WastThread<'env>) -> Result<()> {
        let mut shared = HashMap::new();
        if let Some(id) = thread.shared_module {
            let instance = self.instance(Some(id))?;
            let exports = instance.exports(&mut self.store);
            let memories = exports.filter_map(|export| {
                Some((export.name().to_owned(), export.into_extern().into_shared_memory()?))
            });
            shared.insert(id.name().to_owned(), memories.collect());
        }
        let (engine, plain_engine) = (self.engine.clone(), self.plain_engine.clone());
        let scope = self.scope;
        let name = thread.name.name().to_owned();
        let directives = thread.directives;
        let handle = std::thread::Builder::new()
            .name(name.clone())
            .stack_size(super::GUEST_STACK + super::HOST_STACK)
            .spawn_scoped(scope, move || {
                let mut script = Script::on(engine, plain_engine, scope)?;
                script.shared = shared;
                for directive in directives {
                    let offset = directive.span().offset();
                    script.run(directive).with_context(|| format!("at byte {offset}"))?;
                }
                script.wait_for_all()
            })
            .context("cannot start a thread")?;
        match self.threads.insert(name, handle) {
            Some(before) => wait_for(before),
            None => Ok(()),
        }
    }

    /// Waits for all threads that have not been waited for. Fails if one of them has failed.
    pub fn wait_for_all(&mut self) -> Result<()> {
        let ended: Vec<Result<()>> =
            self.threads.drain().map(|(_, thread)| wait_for(thread)).collect();
        ended.into_iter().collect()
    }

    /// Runs the next directive. An error says how it failed.
    pub fn run(&mut self, directive: WastDirective<'env>) -> Result<Outcome> {
        match directive {
            WastDirective::Module(
                QuoteWat::QuoteComponent(..) | QuoteWat::Wat(Wat::Component(_)),
            ) => {
                self.current = None;
                return Ok(Outcome::Skipped);
            }
            WastDirective::ModuleDefinition(QuoteWat::QuoteComponent(..))
            | WastDirective::ModuleDefinition(QuoteWat::Wat(Wat::Component(_)))
            | WastDirective::AssertSuspension { .. }
            | WastDirective::AssertInvalidCustom { .. }
            | WastDirective::AssertMalformedCustom { .. } => return Ok(Outcome::Skipped),

            WastDirective::Thread(thread) => self.start(thread)?,
            WastDirective::Wait { thread, .. } => match self.threads.remove(thread.name()) {
                Some(thread) => wait_for(thread)?,
                None => anyhow::bail!("there is no thread ${}", PrintableName(thread.name())),
            },

            WastDirective::Module(mut wat) => {
                let name = wat.name();
                self.forget_instance(name);
                let module = self.module(&mut wat)?;
                self.instantiate_as(name, &module)?;
            }
            WastDirective::ModuleDefinition(mut wat) => {
                let name = wat.name();
                self.last_definition = None;
                if let Some(name) = name {
                    self.definitions.remove(name.name());
                }
                let module = self.module(&mut wat)?;
                if let Some(name) = name {
                    self.definitions.insert(name.name().to_owned(), module.clone());
                }
                self.last_definition = Some(module);
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                self.forget_instance(instance);
                let module = match module {
                    Some(id) => self.definitions.get(id.name()),
                    None => self.last_definition.as_ref(),
                };
                let module = module
                    .cloned()
                    .ok_or_else(|| Error::msg("there is no such module definition"))?;
                self.instantiate_as(instance, &module)?;
            }
            WastDirective::Register { name, module: Some(id), .. }
                if self.shared.contains_key(id.name()) =>
            {
                let memories = self.shared[id.name()].clone();
                self.registered_memories.insert(name.to_owned(), memories);
                self.link()?;
            }
            WastDirective::Register { name, module, .. } => {
                let instance = self.instance(module);
                self.register(name, instance)?;
            }
            WastDirective::Invoke(invoke) => {
                self.invoke(&invoke)?;
            }

            WastDirective::AssertReturn { exec, results, .. } => {
                let actual = self.execute(exec)?;
                values::check(&actual, &results)?;
            }
            WastDirective::AssertTrap { exec, message, .. } => {
                let result = self.execute(exec);
                check_trap(result, message)?;
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                let result = self.invoke(&call);
                check_trap(result, message)?;
            }

            WastDirective::AssertException { exec, .. } => {
                let result = self.execute(exec);
                check_exception(result)?;
            }

            WastDirective::AssertInvalid { mut module, message, .. } => {
                anyhow::ensure!(
                    self.is_refused(&mut module, message),
                    "the module is valid, but should not be: {message}"
                );
            }
            WastDirective::AssertMalformed { mut module, message, .. } => {
                anyhow::ensure!(
                    self.is_refused(&mut module, message),
                    "the module is well-formed, but should not be: {message}"
                );
            }
            WastDirective::AssertUnlinkable { module, message, .. } => {
                let module = self.module(&mut QuoteWat::Wat(module))?;
                match self.linker.instantiate(&mut self.store, &module) {
                    Ok(_) => anyhow::bail!("the module links, but should not: {message}"),
                    Err(error) => check_unlinkable(&error, message)?,
                }
            }
        }
        Ok(Outcome::Passed)
    }

    /// Loads a module from text or bytes.
    fn module(&self, wat: &mut QuoteWat<'_>) -> Result<Module> {
        let bytes = wat.encode().map_err(|error| Error::msg(error.message()))?;
        Module::new(&self.engine, bytes)
    }

    /// Whether a module is refused, as it should be for the reason that `message` tells.
    fn is_refused(&self, wat: &mut QuoteWat<'_>, message: &str) -> bool {
        let Ok(bytes) = wat.encode() else { return true };
        let refuses = |engine| Module::new(engine, &bytes).is_err();
        // Scripts of 2.0 expect to be refused what later scripts expect to work.
        match message {
            "multiple memories" | "zero byte expected" => refuses(&self.plain_engine),
            // Of before reference types.
            "multiple tables" => {
                let mut validator = Validator::new_with_features(WasmFeatures::MVP);
                validator.validate_all(&bytes).is_err()
            }
            "integer representation too long" => {
                refuses(&self.engine) || refuses(&self.plain_engine)
            }
            _ => refuses(&self.engine),
        }
    }

    /// A directive that follows a module which is refused must not run on the one before, nor on one that had the
    /// same name.
    fn forget_instance(&mut self, name: Option<Id<'_>>) {
        self.current = None;
        if let Some(name) = name {
            self.instances.remove(name.name());
        }
    }

    /// From now on modules import this instance under a name, and what had the name before no more.
    fn register(&mut self, name: &str, instance: Result<Instance>) -> Result<()> {
        self.registered.remove(name);
        if let Ok(instance) = &instance {
            self.registered.insert(name.to_owned(), *instance);
        }
        self.link()?;
        instance.map(drop)
    }

    /// Defines what can be imported.
    fn link(&mut self) -> Result<()> {
        self.linker = self.base.clone();
        for (name, instance) in &self.registered {
            self.linker.instance(&mut self.store, name, *instance)?;
        }
        for (module, memories) in &self.registered_memories {
            for (name, memory) in memories {
                self.linker.define(&self.store, module, name, memory.clone())?;
            }
        }
        Ok(())
    }

    fn instantiate_as(&mut self, name: Option<Id<'_>>, module: &Module) -> Result<()> {
        let instance = self.linker.instantiate(&mut self.store, module)?;
        self.current = Some(instance);
        if let Some(name) = name {
            self.instances.insert(name.name().to_owned(), instance);
        }
        Ok(())
    }

    fn instance(&self, name: Option<Id<'_>>) -> Result<Instance> {
        match name {
            Some(id) => self.instances.get(id.name()).copied().ok_or_else(|| {
                Error::msg(format!("there is no instance ${}", PrintableName(id.name())))
            }),
            None => self.current.ok_or_else(|| Error::msg("there is no instance")),
        }
    }

    fn execute(&mut self, execute: WastExecute<'_>) -> Result<Vec<Val>> {
        match execute {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Wat(wat) => {
                let module = self.module(&mut QuoteWat::Wat(wat))?;
                self.linker.instantiate(&mut self.store, &module)?;
                Ok(Vec::new())
            }
            WastExecute::Get { module, global, .. } => {
                match self.instance(module)?.get_export(&mut self.store, global) {
                    Some(Extern::Global(global)) => Ok(vec![global.get(&mut self.store)]),
                    _ => anyhow::bail!("there is no global `{}`", PrintableName(global)),
                }
            }
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Vec<Val>> {
        let function =
            self.instance(invoke.module)?.get_func(&mut self.store, invoke.name).ok_or_else(
                || Error::msg(format!("there is no function `{}`", PrintableName(invoke.name))),
            )?;
        let arguments = values::arguments(&invoke.args)?;
        let count = function.ty(&self.store).results.len();
        let mut results = vec![Val::I32(0); count];
        function.call(&mut self.store, &arguments, &mut results)?;
        Ok(results)
    }
}

/// What became of a thread.
fn wait_for(thread: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    let ended = thread.join().unwrap_or_else(|_| Err(Error::msg("panicked")));
    ended.with_context(|| format!("thread ${}", PrintableName(&name)))
}

/// Whether a call or an instantiation ended in the trap that `expected` describes.
fn check_trap(result: Result<Vec<Val>>, expected: &str) -> Result<()> {
    match result {
        Ok(values) => {
            anyhow::bail!("expected the trap `{expected}`, got {}", values::show(&values))
        }
        Err(error) => match error.downcast_ref::<Trap>() {
            Some(trap) if is_trap(*trap, expected) => Ok(()),
            Some(trap) => {
                anyhow::bail!("expected the trap `{expected}`, got `{}`", trap.message())
            }
            None => Err(error.context(format!("expected the trap `{expected}`, got an error"))),
        },
    }
}

/// Whether a call ended in an exception that nothing has caught.
fn check_exception(result: Result<Vec<Val>>) -> Result<()> {
    match result {
        Ok(values) => anyhow::bail!("expected an exception, got {}", values::show(&values)),
        Err(error) if error.is::<Exception>() => Ok(()),
        Err(error) => Err(error.context("expected an exception, got another error")),
    }
}

/// Whether a trap is the one that a script describes.
///
/// As in the reference interpreter, a message need not be complete; some scripts also say which
/// element they mean, as in `uninitialized element 2`.
fn is_trap(trap: Trap, expected: &str) -> bool {
    let matches = |message: &str| message.starts_with(expected) || expected.starts_with(message);
    matches(trap.message())
        // The specification has a wording of its own for a call beyond the table's end.
        || trap == Trap::TableOutOfBounds && matches("undefined element")
        // And for a call of null.
        || trap == Trap::NullReference && matches("null function reference")
}

/// Whether linking failed for the reason that `expected` describes.
fn check_unlinkable(error: &Error, expected: &str) -> Result<()> {
    let is_expected = if expected.starts_with("unknown import") {
        error.downcast_ref::<UnlinkedImports>().is_some()
    } else {
        error.chain().any(|cause| cause.to_string().contains(expected))
    };
    anyhow::ensure!(is_expected, "expected the link error `{expected}`, got: {error:#}");
    Ok(())
}
